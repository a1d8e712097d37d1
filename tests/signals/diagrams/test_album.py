"""A whole network in a folder: every signal or a reason, safe names, whole files, a page that leads to them."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from signals.diagrams import draw_all
from signals.diagrams.album import FileNames
from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Corridor, Network
from signals.model.phasing import SignalProgram
from sumo_nets import find_network

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Page(HTMLParser):
    """Links and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [unquote(value or "") for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_every_signal_and_corridor_has_a_file_and_a_link(
    corridor_of: Callable[..., Corridor],
    network_with: Callable[..., Network],
    program_of: Callable[..., SignalProgram],
    tmp_path: Path,
) -> None:
    network = network_with("a", "b")
    plans = {s: program_of(s, offset_s=9.0) for s in "ab"}
    seen: list[tuple[int, int]] = []
    folder = tmp_path / "new" / "folder"
    files = draw_all(
        network,
        [corridor_of("a", "b")],
        plans,
        folder,
        formats=("svg", "png"),
        on_done=lambda done, total: seen.append((done, total)),
    )
    assert sorted(files) == sorted(folder.iterdir())
    assert files[-1].name == "index.html"
    # two signals, and the corridor before and after, in two formats
    assert len(files) == 2 * (2 + 2) + 1
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for file in files:
        if file.suffix == ".svg":
            ElementTree.parse(file)
    assert sorted(Page(folder / "index.html").links) == sorted(f.name for f in files[:-1])


def test_shipped_networks_are_drawn_twice_alike(tmp_path: Path) -> None:
    network = read_network(read_scenario(find_network("single")))
    one, two = (draw_all(network, [], {}, tmp_path / name) for name in ("1", "2"))
    assert [p.name for p in one] == ["signal-centre.svg", "index.html"]
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_what_is_missing_is_said(
    corridor_of: Callable[..., Corridor],
    network_with: Callable[..., Network],
    program_of: Callable[..., SignalProgram],
    tmp_path: Path,
) -> None:
    network = network_with("kept", "bare", "wrong")
    signals = dict(network.intersections)
    signals["bare"] = replace(signals["bare"], program=None)
    network = replace(network, intersections=signals)
    plans = {
        "kept": program_of("kept", offset_s=3.0),
        "wrong": program_of("wrong", rows=((40.0, "Gr"), (40.0, "rG"))),
        "elsewhere": program_of("elsewhere"),
    }
    files = draw_all(network, [corridor_of("kept", "bare"), corridor_of("bare", "bare")], plans, tmp_path)
    names = {f.name for f in files}
    assert {"signal-kept.svg", "signal-wrong.svg"} <= names
    assert not any("signal-bare" in n or "elsewhere" in n for n in names)
    text = Page(tmp_path / "index.html").text
    assert re.search(r"Signal bare\s+no program in place; no plan", text)
    assert re.search(r"Signal elsewhere\s+in the plan, but not in this network", text)
    assert "signal wrong: program p has states of 2 links, the network needs 13" in text
    assert "without a program: bare" in text
    assert re.search(r"Corridor bare to bare\s+none of its signals has a program", text)


def test_ids_cannot_leave_the_folder_or_the_page(
    network_with: Callable[..., Network], tmp_path: Path
) -> None:
    ids = [
        "../../evil",
        "/etc/passwd",
        "<script>alert(1)</script>",
        "a/b",
        "a\\b",
        "..",
        "con",
        "x" * 300,
        "é",
    ]
    files = draw_all(network_with(*ids), [], {}, tmp_path / "in")
    assert len(files) == len(ids) + 1
    assert all(f.parent == tmp_path / "in" and f.exists() for f in files)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    page = Page(tmp_path / "in" / "index.html")
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.words
    assert all((tmp_path / "in" / link).is_file() for link in page.links)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.text(max_size=40) | st.text("aA_./", max_size=4), max_size=20))
def test_names_are_safe_and_differ(ids: set[str]) -> None:
    names = FileNames()
    taken = [names.take("signal", i) for i in sorted(ids)]
    # some file systems take upper and lower case for the same
    assert len({t.casefold() for t in taken}) == len(ids)
    assert all(SAFE.fullmatch(t) and len(t) < 200 for t in taken)


def test_an_id_that_looks_like_the_name_of_another_gets_its_own() -> None:
    hashed = FileNames().take("signal", "a/b").removeprefix("signal-")
    names = FileNames()
    assert len({names.take("signal", hashed), names.take("signal", "a/b")}) == 2
    with pytest.raises(InputError, match="drawn twice"):
        [names.take("signal", "j1") for _ in range(5)]


def test_bad_requests_are_refused_in_words(
    network: Network, program_of: Callable[..., SignalProgram], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="file: the folder can't be made"):
        draw_all(network, [], {}, file)
    with pytest.raises(InputError, match="format gif: choose of svg, png, pdf"):
        draw_all(network, [], {}, tmp_path / "out", formats=("svg", "gif"))
    with pytest.raises(InputError, match="none of the 1 programs"):
        draw_all(network, [], {"other": program_of("other")}, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_nothing_behind(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"signal-J\.svg: can't be written: No space left"):
        draw_all(network, [], {}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_figures_do_not_outlive_their_file(
    network_with: Callable[..., Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Figure]] = []
    original = Figure.__init__

    def remember(self: Figure, *args: object, **options: object) -> None:
        made.append(weakref.ref(self))
        original(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "__init__", remember)
    draw_all(network_with(*"abcd"), [], {}, tmp_path)
    gc.collect()
    assert len(made) == 4
    assert not [figure for figure in made if figure() is not None]


def test_a_network_without_signals_says_so(tmp_path: Path) -> None:
    files = draw_all(Network("empty.net.xml", {}, (), {}), [], {}, tmp_path)
    assert [f.name for f in files] == ["index.html"]
    assert "The network has no signals." in Page(files[0]).text


def test_a_city_with_long_ids_is_drawn_in_full(tmp_path: Path) -> None:
    spec = find_spec("sumo_rl")
    if spec is None or spec.origin is None:
        pytest.skip("sumo-rl isn't installed; it brings the RESCO networks (pip install greensplit[bench])")
    config = Path(spec.origin).parent / "nets" / "RESCO" / "ingolstadt21" / "ingolstadt21.sumocfg"
    network = read_network(read_scenario(config))
    assert max(map(len, network.intersections)) > 100
    files = draw_all(network, [], {}, tmp_path)
    assert len(files) == len(network.intersections) + 1
    assert all(len(f.name) < 120 for f in files)
    assert "Not drawn" not in Page(tmp_path / "index.html").words
