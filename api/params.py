"""Parts of paths that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

_NUMBER = {"ge": 1, "le": 2**53}

AreaId = Annotated[int, Path(**_NUMBER, examples=[1])]
NetworkId = Annotated[int, Path(**_NUMBER, examples=[1])]
IntersectionId = Annotated[int, Path(**_NUMBER, examples=[1])]
StreamId = Annotated[int, Path(**_NUMBER, examples=[1])]
ForecastId = Annotated[int, Path(**_NUMBER, examples=[1])]
RequestId = Annotated[int, Path(**_NUMBER, examples=[1])]
JobId = Annotated[int, Path(**_NUMBER, examples=[1])]
ComparisonId = Annotated[int, Path(**_NUMBER, examples=[1])]
ControllerId = Annotated[int, Path(**_NUMBER, examples=[1])]
DeploymentId = Annotated[int, Path(**_NUMBER, examples=[1])]
EventId = Annotated[int, Path(**_NUMBER, examples=[1])]
PlanHash = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", examples=["0" * 64], description="SHA-256 of the plan.")
]
