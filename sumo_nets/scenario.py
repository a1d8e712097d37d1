"""Demand files and the ``.sumocfg`` of a scenario, written so that every build gives the same bytes."""

import gzip
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

SLOT_S = 900  # demand changes every 15 minutes


def write_elements(file: Path, root: str, rows: Iterable[str]) -> None:
    """Write XML rows under a root element; a name ending in ``.gz`` is compressed without a time stamp."""
    text = "\n".join([f"<{root}>", *(f"    {row}" for row in rows), f"</{root}>", ""])
    if file.suffix != ".gz":
        file.write_text(text, encoding="utf-8")
        return
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(text.encode("utf-8"))
    file.write_bytes(packed.getvalue())


def write_sumocfg(
    file: Path,
    *,
    net: str,
    routes: Sequence[str] = (),
    additional: Sequence[str] = (),
    begin_s: int,
    end_s: int,
) -> None:
    """Write a scenario that names its files relative to itself; the random seed is left to the user."""
    rows = ["<input>", f'    <net-file value="{net}"/>']
    if routes:
        rows.append(f'    <route-files value="{",".join(routes)}"/>')
    if additional:
        rows.append(f'    <additional-files value="{",".join(additional)}"/>')
    rows += [
        "</input>",
        "<time>",
        f'    <begin value="{begin_s}"/>',
        f'    <end value="{end_s}"/>',
        "</time>",
        "<processing>",
        '    <time-to-teleport value="300"/>',
        "</processing>",
    ]
    write_elements(file, "configuration", rows)
