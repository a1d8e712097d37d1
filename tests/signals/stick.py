"""The project's measuring stick, evaluate_forecast.py, which lies beside the repository and not in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def measuring_stick() -> ModuleType:
    """The stick as a module; where it isn't, the test is skipped."""
    path = SHARED / "tools" / "evaluate_forecast.py"
    if not path.exists():
        pytest.skip(f"the measuring stick is not at {path}")
    spec = importlib.util.spec_from_file_location("evaluate_forecast", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
