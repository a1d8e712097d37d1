"""The published examples of worked_examples.yaml, loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

EXAMPLES: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("worked_examples.yaml").read_text(encoding="utf-8")
)
