"""Which column of a table is what, by its header; names and counts in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.formats.counts.sheet import Sheet
from signals.model.counts import Floats

Headers = Mapping[str, Sequence[str]]
"""By role of a column, the headers by which it is known; case, spaces, `_` and `-` don't matter."""

LONG_TABLE: Headers = {
    "time": (
        *("time", "timestamp", "datetime", "date time", "start", "start time", "interval start", "interval"),
        *("begin", "period start"),
    ),
    "series": (
        *("series", "detector", "detector id", "movement", "approach", "sensor", "sensor id", "station"),
        *("station id", "id", "name"),
    ),
    "count": ("count", "counts", "volume", "vehicles", "veh", "value", "total"),
}


def layout_of(names: Sequence[str]) -> Literal["wide", "long"]:
    """`long` where the header has columns for a time, a series and a count, else `wide`."""
    return "long" if has_columns(names, LONG_TABLE) else "wide"


def has_columns(names: Sequence[str], headers: Headers) -> bool:
    """Whether a header has a column for each of these roles."""
    return all(_positions(names, accepted) for accepted in headers.values())


def find_columns(
    sheet: Sheet, what: str, headers: Headers, otherwise: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Position of the one column for each role; `otherwise` for roles that no header is accepted for.

    Raises
    ------
    InputError
        Where a role has no column, or several; `what` says in it what needs the column.
    """
    found: dict[str, int] = {}
    for role, accepted in headers.items():
        at = _positions(sheet.names, accepted)
        if not at and otherwise and role in otherwise:
            at = [otherwise[role]]
        if not at:
            raise InputError(
                f"{sheet.path}: {what} needs a column for the {role}, named {', '.join(accepted[:-1])} "
                f"or {accepted[-1]}; found {', '.join(map(repr, sheet.names[:12]))}"
            )
        if len(at) > 1:
            both = " and ".join(repr(sheet.names[k]) for k in at)
            raise InputError(
                f"{sheet.path}: columns {both} may all be the {role}; rename or drop all but one"
            )
        found[role] = at[0]
    return found


def _positions(names: Sequence[str], accepted: Sequence[str]) -> list[int]:
    wanted = {_plain(name) for name in accepted}
    return [k for k, name in enumerate(names) if _plain(name) in wanted]


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c not in " _-")


def coded_names(sheet: Sheet, column: int, cells: Any) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names in a column, in the order in which they appear, and each row's position among them.

    Raises
    ------
    InputError
        Where a row has no name.
    """
    texts, codes = coded(cells)
    names = tuple(str(n) for n in texts.to_pylist())
    absent = codes.is_null().to_numpy(zero_copy_only=False)
    if "" in names:
        absent = absent | (codes.fill_null(0).to_numpy() == names.index(""))
    if absent.any():
        raise InputError(f"{sheet.where(int(np.flatnonzero(absent)[0]), column)}: has no name")
    return names, codes.to_numpy().astype(np.int64)


def coded(cells: Any) -> tuple[Any, Any]:
    """The different texts in a column without blanks around them, and each row's position, as pyarrow arrays."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.dictionary_encode(pc.utf8_trim_whitespace(pc.cast(cells.combine_chunks(), pa.string())))
    # Text of more than 2 GB stays in chunks.
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    return found.dictionary, found.indices


def check_finite(sheet: Sheet, values: Floats, columns: Sequence[int]) -> None:
    """Nothing where no count is infinite; `values` float64[n_row, n_column], read from these columns.

    Raises
    ------
    InputError
        Where one is.
    """
    infinite = np.isinf(values)
    if infinite.any():
        row, k = (int(x) for x in np.argwhere(infinite)[0])
        raise InputError(
            f"{sheet.where(row, columns[k])}: {values[row, k]} is no count; correct it, or leave it blank"
        )
