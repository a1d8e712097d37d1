"""Small files of counts to try things on, and how others read them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from signals.model.counts import CountTable

ROOT = Path(__file__).resolve().parents[4]
SHARED = ROOT.parent / "shared"
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


def measuring_stick() -> ModuleType:
    path = SHARED / "tools" / "evaluate_forecast.py"
    if not path.exists():
        pytest.skip(f"{path} isn't here")
    spec = importlib.util.spec_from_file_location("evaluate_forecast", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
