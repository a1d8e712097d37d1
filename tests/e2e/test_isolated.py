"""The page on isolated intersections runs as it stands, and says what it says."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.test_guide import ROOT, Block, Terminal, blocks, type_in

PAGE = ROOT / "docs" / "isolated.md"


def test_the_page_on_isolated_intersections_runs_as_it_stands(tmp_path: Path) -> None:
    typed = blocks(PAGE)
    assert sum(bool(block.said) for block in typed) == len(typed) >= 4
    assert {block.exit_code for block in typed} == {0, 3}
    terminal = Terminal(tmp_path)
    try:
        type_in(terminal, [Block("sh", f"cd {tmp_path}\n", 0, ()), *typed])
    finally:
        terminal.close()
