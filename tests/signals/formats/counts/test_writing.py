"""Writing counts and forecasts: the way there and back, as people write them, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.errors import InputError
from signals.formats.counts import read_counts, write_counts, write_forecast
from signals.model.counts import CountForecast, CountTable
from tests.signals.formats.counts.examples import MELBOURNE, NAN, equal
from tests.signals.stick import measuring_stick

NAMES = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=' ,;"@'), min_size=1, max_size=8
).filter(lambda name: name == name.strip())


@st.composite
def tables(draw: st.DrawFn) -> CountTable:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    n = draw(st.integers(2, 12))
    step = draw(st.sampled_from([5, 15, 60]))
    cell = st.one_of(
        st.just(NAN), st.integers(-5, 2000).map(float), st.floats(allow_nan=False, allow_infinity=False)
    )
    values = draw(st.lists(st.lists(cell, min_size=len(names), max_size=len(names)), min_size=n, max_size=n))
    start = np.datetime64("2007-03-24T10:00", "m") + draw(st.integers(0, 12)) * np.timedelta64(60, "m")
    timezone = draw(st.sampled_from(["", MELBOURNE, "UTC", "Asia/Kathmandu"]))
    return CountTable(tuple(names), start, step, np.array(values), timezone=timezone)


@settings(max_examples=60, deadline=None)
@given(
    table=tables(),
    ending=st.sampled_from(["csv", "csv.gz", "parquet"]),
    layout=st.sampled_from(["wide", "long"]),
)
def test_what_is_written_is_read_again_exactly(
    tmp_path_factory: pytest.TempPathFactory, table: CountTable, ending: str, layout: str
) -> None:
    path = tmp_path_factory.mktemp("trip") / f"counts.{ending}"
    write_counts(table, path, layout=layout)  # type: ignore[arg-type]
    read = read_counts(path, layout=layout, timezone=table.timezone)  # type: ignore[arg-type]
    assert equal(read, table)
    if ending == "parquet":
        assert read_counts(path, layout=layout).timezone == table.timezone  # type: ignore[arg-type]


def test_counts_are_written_as_people_write_them(tmp_path: Path) -> None:
    values = np.array([[37, 0.1], [NAN, 2]])
    table = CountTable(("A", "B,C"), np.datetime64("2007-03-24T15:45"), 15, values, timezone=MELBOURNE)
    write_counts(table, tmp_path / "a.csv")
    written = (tmp_path / "a.csv").read_text()
    assert written == 'start,A,"B,C"\n2007-03-25T02:45+11:00,37,0.1\n2007-03-25T02:00+10:00,,2\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = CountTable(("A",), np.datetime64("2006-10-01"), 15, np.zeros((2, 1)))
    with pytest.raises(InputError, match=r"written as .csv, .csv.gz or .parquet"):
        write_counts(table, tmp_path / "counts.xlsx")
    with pytest.raises(InputError, match="can't be written"):
        write_counts(table, tmp_path / "absent" / "counts.parquet")
    write_counts(table, tmp_path / "counts.parquet")
    before = (tmp_path / "counts.parquet").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_counts(table, tmp_path / "counts.parquet")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["counts.parquet"]
    assert (tmp_path / "counts.parquet").read_bytes() == before


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_forecast_is_what_the_measuring_stick_takes(tmp_path: Path, ending: str) -> None:
    times = np.datetime64("2006-10-22T00:00", "m") + np.arange(4) * np.timedelta64(15, "m")
    generator = np.random.default_rng(3)
    mean, quantiles = generator.random((4, 2)) * 100, np.sort(generator.random((4, 2, 3)) * 100, axis=-1)
    forecast = CountForecast(("A", "B"), times, 15, mean, (0.05, 0.5, 0.95), quantiles)
    path = tmp_path / f"forecast.{ending}"
    write_forecast(forecast, path)
    read_times, values, names, step = measuring_stick().load_counts(str(path))
    assert step == 15
    assert np.array_equal(read_times, times)
    assert names == ["A", "B", "A@0.05", "A@0.5", "A@0.95", "B@0.05", "B@0.5", "B@0.95"]
    # pandas' CSV reader is off by a unit in the last place at times; ours is exact.
    np.testing.assert_allclose(values[:, :2], mean, rtol=1e-14)
    np.testing.assert_allclose(values[:, 2:].reshape(4, 2, 3), quantiles, rtol=1e-14)
    assert np.array_equal(read_counts(path).values[:, :2], mean)
