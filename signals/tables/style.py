"""How tables look, whatever is in them."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table

ID_WIDTH = 24
"""Ids of real networks run to over 100 characters; their start and end tell them apart."""


def short(text: str, width: int = ID_WIDTH) -> str:
    """A text that fits a column: its start and its end."""
    return text if len(text) <= width else text[: width - 9] + "…" + text[-8:]


def short_names(ids: Iterable[str], width: int = ID_WIDTH) -> dict[str, str]:
    """A name for each id that fits a column; no two are alike."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in ids:
        name, number = short(text, width), 1
        while name in taken:
            number += 1
            name = f"{short(text, width - len(str(number)) - 1)}~{number}"
        taken.add(name)
        names[text] = name
    return names


def new_table(title: str) -> Table:
    """A table without vertical lines: they cost the width that a signal's figures need."""
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )


def add_columns(table: Table, *names: str, right: bool = False) -> None:
    """Columns that keep their width; the unit stands in the header's second line."""
    for name in names:
        table.add_column(name, justify="right" if right else "left", no_wrap=True)


def add_names(table: Table, name: str, texts: Iterable[str]) -> None:
    """A column of ids, never cut further than `short_names` did."""
    table.add_column(name, no_wrap=True, min_width=max((len(t) for t in texts), default=0))
