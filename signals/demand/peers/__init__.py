"""Other people's forecasts behind the contract of `OnlineForecaster`, to be judged beside it.

`PEERS` has a maker for each. The first three need nothing but numpy; the others need packages of the extra `peers`,
which load when a forecaster is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from signals.demand.peers.gradient_boosting import LightGBM
from signals.demand.peers.profile import LastValue, LastWeek, SmoothedProfile
from signals.demand.peers.statistical import AutoARIMA, AutoETS
from signals.demand.scoring import Maker

__all__ = [
    "NEEDS",
    "PEERS",
    "AutoARIMA",
    "AutoETS",
    "LastValue",
    "LastWeek",
    "LightGBM",
    "SmoothedProfile",
    "available_peers",
]

PEERS: Mapping[str, Maker] = MappingProxyType(
    {
        "last-value": LastValue,
        "last-week": LastWeek,
        "smoothed-profile": SmoothedProfile,
        "AutoETS": AutoETS,
        "AutoARIMA": AutoARIMA,
        "LightGBM": LightGBM,
    }
)
"""Each peer by name, the simplest first."""

NEEDS: Mapping[str, str] = MappingProxyType(
    {"AutoETS": "statsforecast", "AutoARIMA": "statsforecast", "LightGBM": "lightgbm"}
)
"""The package that a peer needs, by its name."""


def available_peers() -> dict[str, str]:
    """Each peer's name with an empty string, or with what to do where its package isn't installed."""
    return {
        name: (
            f"{name} needs {NEEDS[name]}, which is not installed: pip install greensplit[peers]"
            if name in NEEDS and find_spec(NEEDS[name]) is None
            else ""
        )
        for name in PEERS
    }
