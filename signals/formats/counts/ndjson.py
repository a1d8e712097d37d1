"""Counts as lines of JSON, one object a count: series, time and count."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from signals.errors import InputError
from signals.formats.counts.grid import Rows
from signals.formats.counts.reading import long_rows
from signals.formats.counts.sheet import Sheet
from signals.formats.files import open_unpacked

FIELDS = ("series", "time", "count")
_AT_ONCE = 20_000


def ndjson_rows(path: Path, timezone: str = "") -> Rows:
    """The counts of a file with a line such as `{"series": "A1", "time": "2026-11-25T07:15+01:00", "count": 17}` each.

    Times are read as those of a long table; `null` is no count. Blank lines are passed over.

    Raises
    ------
    InputError
        Where a line is no such object: a field is missing, isn't known, or of another type.
    """
    import pyarrow as pa

    # pyarrow's own reader of JSON is faster still, but ends the process where a line is `null`.
    # Lines are what `Sheet` needs to say where a row is.
    sheet = Sheet(path, FIELDS, delimiter="\n")
    kinds = (pa.string(), pa.string(), pa.float64())
    parts: tuple[list[Any], ...] = ([], [], [])
    with open_unpacked(path) as stream:
        for rows in _objects(path, stream):
            for part, field, kind in zip(parts, FIELDS, kinds, strict=True):
                part.append(pa.array([row[field] for row in rows], type=kind))
    if not any(map(len, parts[0])):
        raise InputError(f"{path}: holds no lines; send one for each count")
    cells = {k: pa.chunked_array(part, type=kinds[k]) for k, part in enumerate(parts)}
    found = {field: k for k, field in enumerate(FIELDS)}
    return long_rows(sheet, found, cells, timezone, [])


def _objects(path: Path, stream: IO[bytes]) -> Iterator[list[Any]]:
    """Some thousand lines at a time, read and checked."""
    from pydantic import TypeAdapter, ValidationError

    from signals.wire.counts import CountLine

    several = TypeAdapter(list[CountLine])
    lines = enumerate(stream, start=1)
    while part := list(islice(lines, _AT_ONCE)):
        numbered = [(number, line) for number, line in part if line.strip()]
        try:
            rows = several.validate_json(b"[" + b",".join(line for _, line in numbered) + b"]")
        except ValidationError:
            rows = []
        if len(rows) != len(numbered):
            raise InputError(f"{path}: {_first_wrong(numbered)}")
        yield rows


def _first_wrong(numbered: list[tuple[int, bytes]]) -> str:
    from pydantic import TypeAdapter, ValidationError

    from signals.wire.counts import CountLine

    one = TypeAdapter(CountLine)
    for number, line in numbered:
        try:
            one.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            told = {
                "missing": f"has no {field!r}",
                "extra_forbidden": f"has the field {field!r}, which isn't known",
            }.get(first["type"], f"{field or 'object'}: {first['msg']}")
            return f"line {number}: {told}; a line has series, time and count"
    return f"lines {numbered[0][0]} to {numbered[-1][0]}: not one object a line"
