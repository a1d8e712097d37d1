"""Small files of counts to try things on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from signals.model.counts import CountTable

ROOT = Path(__file__).resolve().parents[4]
MELBOURNE = "Australia/Melbourne"
NAN = float("nan")
TWO = "start,A,B\n2006-10-01T00:00,1,2\n2006-10-01T00:15,3,4\n"


def csv_file(folder: Path, text: str, name: str = "counts.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def day(date: str, step_min: int = 15) -> list[str]:
    start = np.datetime64(f"{date}T00:00", "m")
    return [str(start + k * np.timedelta64(step_min, "m")) for k in range(1440 // step_min)]


def equal(a: CountTable, b: CountTable) -> bool:
    return (
        a.names == b.names
        and a.start == b.start
        and a.step_min == b.step_min
        and a.timezone == b.timezone
        and np.array_equal(a.values, b.values, equal_nan=True)
    )
