"""Merging sources: against a loop over every slot, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.demand.merging import NOBODY, MergedTable, Sourced, merge, to_longer_step
from signals.errors import InputError
from signals.model.counts import MARK_OF, CountTable, Mark, Reason

NAN = float("nan")
START = np.datetime64("2006-10-01T00:00", "m")


def table(
    columns: dict[str, list[float]], *, late: int = 0, step_min: int = 15, timezone: str = ""
) -> CountTable:
    values = np.array(list(columns.values())).T
    start = START + late * np.timedelta64(step_min, "m")
    return CountTable(tuple(columns), start, step_min, values, timezone=timezone)


def judged(counts: CountTable, reasons: dict[tuple[int, int], Reason]) -> CountTable:
    codes = counts.reasons.copy()
    for at, reason in reasons.items():
        codes[at] = reason
    return replace(counts, reasons=codes)


def test_a_gap_is_filled_from_the_next_source_and_times_are_united() -> None:
    first = Sourced("loops", table({"A": [1, NAN, 3]}), priority=1)
    second = Sourced("cameras", table({"A": [20, 30, 40], "B": [5, 6, 7]}, late=1), priority=2)
    merged = merge([second, first])
    assert merged.names == ("A", "B")
    assert merged.start == START
    assert np.array_equal(merged.values, [[1, NAN], [20, 5], [3, 6], [40, 7]], equal_nan=True)
    assert merged.sources == ("cameras", "loops")
    assert merged.origins.tolist() == [[1, NOBODY], [0, 0], [1, 0], [0, 0]]
    assert merged.reasons[0, 1] == Reason.GAP
    assert "loops: gives 2 of 8 counts" in merged.remarks
    assert any(
        r.startswith("1 counts that sources agree are good, but not on the figure") for r in merged.remarks
    )


def test_the_better_mark_wins_over_priority_and_keeps_its_reason() -> None:
    stuck = judged(
        table({"A": [9, 9, 9, 9]}), {(0, 0): Reason.STUCK, (1, 0): Reason.LEVEL, (2, 0): Reason.STUCK}
    )
    other = judged(table({"A": [1, 2, 3, 4]}), {(1, 0): Reason.LEVEL, (2, 0): Reason.LEVEL})
    merged = merge([Sourced("a", stuck, priority=0), Sourced("b", other, priority=1)])
    assert merged.values[:, 0].tolist() == [1, 9, 3, 9]
    assert merged.origins[:, 0].tolist() == [1, 0, 1, 0]
    assert merged.reasons[:, 0].tolist() == [Reason.NONE, Reason.LEVEL, Reason.LEVEL, Reason.NONE]


def test_a_gap_on_a_holiday_is_no_good_count() -> None:
    holiday = judged(table({"A": [NAN, 2]}), {(0, 0): Reason.HOLIDAY, (1, 0): Reason.HOLIDAY})
    merged = merge([Sourced("a", holiday), Sourced("b", table({"A": [5, 6]}), priority=1)])
    assert merged.values[:, 0].tolist() == [5, 2]
    assert merged.reasons[:, 0].tolist() == [Reason.NONE, Reason.HOLIDAY]


def test_a_gap_that_one_source_explains_is_explained() -> None:
    skipped = judged(table({"A": [7, NAN]}), {(0, 0): Reason.CLOCK_SKIPPED})
    merged = merge([Sourced("a", table({"A": [NAN, NAN]})), Sourced("b", skipped, priority=1)])
    assert np.isnan(merged.values).all()
    assert merged.reasons[:, 0].tolist() == [Reason.CLOCK_SKIPPED, Reason.GAP]
    assert (merged.origins == NOBODY).all()


def test_sources_with_names_of_their_own_are_mapped_to_common_ones() -> None:
    log = Sourced("log", table({"1136:4": [1, NAN]}), series={"1136:4": "north"})
    scats = Sourced("scats", table({"north": [8, 9], "east": [2, 3]}), priority=1)
    merged = merge([log, scats])
    assert merged.names == ("north", "east")
    assert merged.values[:, 0].tolist() == [1, 9]
    with pytest.raises(InputError, match="log: has no series 1136:5"):
        merge([replace(log, series={"1136:5": "north"})])
    with pytest.raises(InputError, match="scats: several of its series are mapped to east"):
        merge([replace(scats, series={"north": "east"})])


REASONS = [Reason.NONE, Reason.GAP, Reason.DUPLICATE, Reason.LATE, Reason.STUCK, Reason.HOLIDAY, Reason.LEVEL]


@st.composite
def sources(draw: st.DrawFn) -> list[Sourced]:
    made = []
    for k in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from("ABC"), min_size=1, max_size=3, unique=True))
        n = draw(st.integers(1, 4))
        cell = st.one_of(st.just(NAN), st.integers(0, 9).map(float))
        counts = table(
            {name: draw(st.lists(cell, min_size=n, max_size=n)) for name in names},
            late=draw(st.integers(0, 3)),
        )
        reasons = draw(
            st.lists(st.sampled_from(REASONS), min_size=counts.values.size, max_size=counts.values.size)
        )
        codes = np.where(np.isnan(counts.values), Reason.GAP, np.reshape(reasons, counts.values.shape))
        made.append(
            Sourced(
                f"s{k}", replace(counts, reasons=codes.astype(np.uint8)), priority=draw(st.integers(0, 2))
            )
        )
    return made


@settings(max_examples=150, deadline=None)
@given(given_sources=sources())
def test_every_slot_is_the_best_there_is(given_sources: list[Sourced]) -> None:
    merged = merge(given_sources)
    for i, time in enumerate(merged.times):
        for j, name in enumerate(merged.names):
            best: tuple[int, int, int] | None = None
            for k, source in enumerate(given_sources):
                row = np.flatnonzero(source.table.times == time)
                if name not in source.table.names or not len(row):
                    continue
                at = int(row[0]), source.table.names.index(name)
                mark = MARK_OF[Reason(source.table.reasons[at])]
                if mark < Mark.MISSING and (best is None or (mark, source.priority, k) < best):
                    best = mark, source.priority, k
                    expected = source.table.values[at], source.table.reasons[at]
            assert merged.origins[i, j] == (NOBODY if best is None else best[2])
            if best is None:
                assert np.isnan(merged.values[i, j])
                assert merged.reasons[i, j] == Reason.GAP
            else:
                assert (merged.values[i, j], merged.reasons[i, j]) == expected


@settings(max_examples=30, deadline=None)
@given(given_sources=sources())
def test_merging_with_oneself_changes_nothing(given_sources: list[Sourced]) -> None:
    merged = merge(given_sources)
    again = merge([Sourced("a", merged), Sourced("b", merged, priority=1)])
    assert again.names == merged.names
    assert np.array_equal(again.values, merged.values, equal_nan=True)
    assert np.array_equal(again.reasons, merged.reasons)
    assert set(np.unique(again.origins)) <= {NOBODY, 0}


def test_a_selection_keeps_where_its_counts_came_from() -> None:
    merged = merge([Sourced("a", table({"A": [1], "B": [NAN]})), Sourced("b", table({"B": [2]}), priority=1)])
    chosen = merged.select(["B", "A"])
    assert isinstance(chosen, MergedTable)
    assert chosen.origins.tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="origins of shape"):
        replace(chosen, origins=np.zeros((2, 2), dtype=np.int16))


def test_five_minutes_are_summed_up_where_all_parts_are_there() -> None:
    fine = judged(
        table({"A": [1, 2, 3, 4, NAN, 6, 7, 8, 9, 10]}, step_min=5),
        {(7, 0): Reason.STUCK, (8, 0): Reason.LEVEL},
    )
    coarse = to_longer_step(fine, 15)
    assert np.array_equal(coarse.values[:, 0], [6, NAN, 24, NAN], equal_nan=True)
    assert coarse.reasons[:, 0].tolist() == [Reason.NONE, Reason.GAP, Reason.STUCK, Reason.GAP]
    assert "summed up from 5 to 15 min" in coarse.remarks
    merged = merge(
        [Sourced("fine", fine), Sourced("coarse", table({"A": [60, 70, 80]}), priority=1)], step_min=15
    )
    assert np.array_equal(merged.values[:, 0], [6, 70, 80, NAN], equal_nan=True)
    assert merged.origins[:, 0].tolist() == [0, 1, 1, NOBODY]


def test_sums_start_on_the_local_clocks_grid() -> None:
    late = table({"A": [1.0] * 10}, late=1, step_min=5)
    assert to_longer_step(late, 15).start == START
    assert np.array_equal(to_longer_step(late, 15).values[:, 0], [NAN, 3, 3, NAN], equal_nan=True)
    kolkata = table({"A": [1.0] * 8}, late=2, step_min=15, timezone="Asia/Kolkata")  # 06:00 there
    hourly = to_longer_step(kolkata, 60)
    assert hourly.values[:, 0].tolist() == [4, 4]
    assert hourly.start == START + np.timedelta64(30, "m")


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 500).map(float), min_size=12, max_size=12))
def test_a_sum_loses_nobody(counts: list[float]) -> None:
    fine = table({"A": counts}, step_min=5)
    assert to_longer_step(fine, 15).values.sum() == sum(counts)
    assert np.array_equal(
        to_longer_step(to_longer_step(fine, 15), 60).values, to_longer_step(fine, 60).values
    )


def test_what_can_not_be_merged_is_refused() -> None:
    base = Sourced("a", table({"A": [1, 2]}))
    with pytest.raises(InputError, match="at least one source"):
        merge([])
    with pytest.raises(InputError, match="sources named twice: a"):
        merge([base, base])
    with pytest.raises(InputError, match=r"a has intervals of 15 min, b of 5; .*step_min=15"):
        merge([base, Sourced("b", table({"A": [1, 2]}, step_min=5))])
    with pytest.raises(InputError, match="a is on a local clock without a timezone, b on the clock of UTC"):
        merge([base, Sourced("b", table({"A": [1, 2]}, timezone="UTC"))])
    with pytest.raises(InputError, match="begin 7 min after those of a"):
        merge([base, Sourced("b", replace(base.table, start=START + np.timedelta64(7, "m")))])
    with pytest.raises(InputError, match="a: intervals of 15 min can't be summed up to 5 min"):
        merge([base], step_min=5)
    with pytest.raises(InputError, match="can't be summed up to 25 min"):
        to_longer_step(table({"A": [1, 2]}, step_min=5), 25)
    with pytest.raises(InputError, match="don't fit a day on which clocks change"):
        to_longer_step(table({"A": [1, 2]}, timezone="UTC"), 120)
    with pytest.raises(InputError, match="begin 7 min past the grid of 60 min"):
        to_longer_step(replace(base.table, start=START + np.timedelta64(7, "m")), 60)
