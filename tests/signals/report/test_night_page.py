"""The night's page, read as a browser reads it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from signals.model.network import Network
from signals.model.night import GroupNight
from signals.model.night_notes import ApprovalLine, ApprovalState
from signals.report.night_page import night_page
from tests.signals.report.made_up import failed_group, make_group, make_report, read_arterial

VOID = frozenset({"meta", "br", "img", "path", "rect", "circle", "polyline", "link", "input", "hr"})
LOADING = frozenset({"src", "href", "xlink:href", "action", "data", "poster", "srcset"})


class Page(HTMLParser):
    """Elements with their attributes, and the text of the page; every end tag must fit."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture(scope="module")
def network() -> Network:
    return read_arterial()


@pytest.fixture(scope="module")
def groups(network: Network) -> list[GroupNight]:
    random = np.random.default_rng(1)
    names = sorted(network.intersections)
    return [
        make_group(network, "north", tuple(names[:5]), random),
        make_group(network, "south", tuple(names[5:6]), random),
        failed_group(
            "west", tuple(names[6:]), "no cycle of 60 to 120 s holds its pedestrians; raise the bound"
        ),
    ]


def test_a_page_says_what_changed_where_and_why(network: Network, groups: list[GroupNight]) -> None:
    text = Page(night_page(make_report(network, groups))).text
    assert "Ridgewater: signal plans for Friday, 2026-11-27" in text
    assert re.search(r"stage 1 \([NSEW]+B \w+[^)]*\) gains 6 s: its demand rose 12 %", text)
    assert "no cycle of 60 to 120 s holds its pedestrians; raise the bound" in text
    assert "north j1, j2, j3, j4, j5 approver of North saves more than 10 % of delay" in re.sub(
        r"(?<=[a-z0-9])(?=(j1, j2|approver|saves more))", " ", text
    )
    assert "the same value again and again" in text
    assert "+30 %" in text
    assert "Friday follows a holiday." in text
    assert "One plan all day: 112.0 (+10 %)" in text
    assert "06:30–09:30" in text


def test_a_page_gives_the_verdict_of_sumo(network: Network, groups: list[GroupNight]) -> None:
    window = {
        "begin_s": 23400.0, "end_s": 27000.0, "vehicles": 2113.4, "before_s": 41.26, "after_s": 38.0,
        "difference": {"mean": -3.26, "low": -4.1, "high": -2.42}, "outcome": "better", "reason": "",
        "teleports_before": 3, "teleports_after": 0,
    }  # fmt: skip
    whole = {
        "seeds": [1, 2, 3],
        "geh_below_5_percent": 97.4,
        "reason": "delay falls by 3.3 s/veh",
        "windows": [window],
    }
    validation = {name: window[name] for name in ("before_s", "after_s", "difference", "outcome")} | whole
    text = Page(night_page(make_report(network, groups, validations={"north": validation}))).text
    assert "The new plans are better: delay falls by 3.3 s/veh. 3 pairs of runs" in text
    assert "−3.3 (−4.1 to −2.4)" in text
    assert "06:30–07:30" in text
    assert "1 group better." in text
    assert text.count("Not run in SUMO this night.") == 1


def test_a_page_needs_nothing_but_itself(network: Network, groups: list[GroupNight]) -> None:
    page = night_page(make_report(network, groups))
    loaded = [v for _, attrs in Page(page).elements for a, v in attrs.items() if a in LOADING]
    assert loaded
    assert all(value.startswith(("#", "data:image/svg+xml;base64,")) for value in loaded)
    assert "@import" not in page
    assert "url(" not in page
    assert "://" not in page


def test_every_link_of_a_page_leads_to_one_place(network: Network, groups: list[GroupNight]) -> None:
    elements = Page(night_page(make_report(network, groups))).elements
    places = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(places) == len(set(places))
    assert {a["href"].removeprefix("#") for tag, a in elements if tag == "a"} <= set(places)


def test_ids_from_files_stay_text(network: Network, groups: list[GroupNight]) -> None:
    nasty = "<script>alert('1')</script>\"&\x07"
    renamed = replace(network, intersections={nasty: network.intersections["j1"]})
    made = make_group(renamed, nasty, (nasty,), np.random.default_rng(2))
    page = Page(night_page(make_report(renamed, [made, failed_group("f", (nasty,), nasty)], city=nasty)))
    assert page.count("script") == 1
    assert page.text.count("<script>alert('1')</script>\"&\N{REPLACEMENT CHARACTER}") >= 6
    assert "\x07" not in page.text


def test_what_a_person_decided_is_told_with_the_reason(network: Network, groups: list[GroupNight]) -> None:
    lines = {
        "north": ApprovalLine(
            ApprovalState.REJECTED, "", "M. Ortiz", "2026-11-26T05:10:00+00:00", "roadworks till May"
        ),
        "south": ApprovalLine(ApprovalState.AUTOMATIC, "within the agency's bounds", "automatic"),
    }
    page = Page(night_page(make_report(network, groups, approvals=lines)))
    assert "Nothing waits for a decision." in page.text
    assert "“roadworks till May”" in page.text
    assert "M. Ortiz" in page.text
    assert "1 group was approved automatically" in page.text


def test_a_group_that_does_worse_is_named_on_the_first_page(
    network: Network, groups: list[GroupNight]
) -> None:
    north = groups[0]
    assert north.signals is not None
    worse = {
        s: tuple(replace(r, before=r.after, after=r.before, vc_after=1.2) for r in rows)
        for s, rows in north.signals.items()
    }
    text = Page(night_page(make_report(network, [replace(north, signals=worse)]))).text
    assert "Where the new plans are expected to do worse" in text
    assert "5 signals have a lane group with v/c above 1" in text


def test_an_empty_night_has_a_page_too(network: Network) -> None:
    report = make_report(
        network, [failed_group("all", ("j1",), "no counts")], data_problems=[], alarms=[], remarks=[]
    )
    text = Page(night_page(report)).text
    assert "Nothing waits for a decision." in text
    assert "No problem with the counts is on record." in text
