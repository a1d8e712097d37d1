"""The night's report as one HTML file that needs no other: to read in a browser, or to print."""

from __future__ import annotations

import base64
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from signals.diagrams.sheet import printable
from signals.model.night import Expected
from signals.model.night_notes import ApprovalState
from signals.report.night import (
    TO_DECIDE,
    UNDECIDED,
    GroupReport,
    NightReport,
    SignalReport,
    SignalRow,
    VehicleHours,
)
from signals.report.night_charts import day_strip, gain_chart
from signals.report.night_pictures import DRAWN_GROUPS, NightPictures
from signals.report.night_words import clock, span

LISTED = 5
"""Groups named on the first page as best and as worst."""
OVERLOADED = 10
"""Signals above capacity named on the first page."""
HIGHLIGHTS = 2
CLAUSES = 3
"""Reasons given for a signal on the first page."""
LEVELS_OF_SERVICE = "ABCDEF"
_SAID_BRIEFLY = (*TO_DECIDE, ApprovalState.AUTOMATIC.value)
"""States of groups that have a table of their own, or need none."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """A signal in a period, and the group that it belongs to."""

    group: GroupReport
    of: SignalReport
    row: SignalRow

    @property
    def when(self) -> str:
        period = self.group.periods[self.row.period] if self.row.period < len(self.group.periods) else None
        return span(period.begin_min, period.end_min) if period else f"period {self.row.period + 1}"

    @property
    def says(self) -> str:
        """What changes and why, where it isn't as in the period before."""
        return "" if self.like_before else "; ".join(self.row.why)

    @property
    def like_before(self) -> bool:
        """Whether all that changes is what changes in the period before."""
        k = self.row.period
        return k > 0 and bool(self.row.why) and self.of.rows[k - 1].why == self.row.why

    @property
    def saved_veh_h(self) -> float:
        figures = self.row.figures
        return (figures.before.mean_s - figures.after.mean_s) * figures.vehicles / 3600.0


def night_page(report: NightReport, pictures: NightPictures | None = None) -> str:
    """The page of a night. The same report and pictures give the same text."""
    groups = report.groups
    worth = [g for g in groups if g.of_signals and not g.failed]
    by_gain = sorted(worth, key=lambda g: (-g.saved_veh_h, g.id))
    return (
        _environment()
        .get_template("night.html.jinja")
        .render(
            report=report,
            totals=report.totals,
            pictures=pictures or NightPictures(),
            drawn_groups=DRAWN_GROUPS,
            anchors={g.id: f"g{k}" for k, g in enumerate(groups)},
            best=[(g, _highlights(g)) for g in by_gain[:LISTED] if g.saved_veh_h > 0],
            worse=[g for g in reversed(by_gain) if g.saved_veh_h < 0][:LISTED],
            overloaded=_overloaded(worth),
            overload_limit=OVERLOADED,
            clauses=CLAUSES,
            service=_service(worth),
            to_decide=[g for g in groups if g.state in TO_DECIDE],
            automatic=[g for g in groups if g.state == ApprovalState.AUTOMATIC.value],
            decided=[g for g in groups if not g.failed and g.state not in _SAID_BRIEFLY],
            failures=[g for g in groups if g.failed],
            unplanned=[(g, s, why) for g in groups for s, why in g.unplanned.items()],
            signals_of=_signals_of,
            spots=_spots,
            lines_of=_lines_of,
            outcomes=sorted(Counter(str(g.validation["outcome"]) for g in groups if g.validation).items()),
        )
    )


def _signals_of(group: GroupReport) -> str:
    """The signals of a group, the first few by name."""
    named = ", ".join(group.signals[:6])
    return named if len(group.signals) <= 6 else f"{named} and {len(group.signals) - 6} more"


def _spots(group: GroupReport) -> list[_Spot]:
    return [_Spot(group, s, row) for s in group.of_signals if s.changed for row in s.rows]


def _lines_of(signal: SignalReport, group: GroupReport) -> int:
    """Rows of the table that a signal takes: one a period, and one for what it has to say."""
    return len(signal.rows) + sum(bool(_Spot(group, signal, row).says) for row in signal.rows)


def _highlights(group: GroupReport) -> list[_Spot]:
    """Where a group saves most, and has something to say about it."""
    said = [s for s in _spots(group) if s.row.why]
    return sorted(said, key=lambda s: (-s.saved_veh_h, s.of.id, s.row.period))[:HIGHLIGHTS]


def _overloaded(groups: Sequence[GroupReport]) -> list[_Spot]:
    """Signals above capacity under the new plans, each in its worst period, the worst first."""
    worst = []
    for group in groups:
        for signal in group.of_signals:
            row = max(signal.rows, key=lambda r: r.figures.vc_after, default=None)
            if row is not None and row.figures.vc_after > 1.0:
                worst.append(_Spot(group, signal, row))
    return sorted(worst, key=lambda s: (-s.row.figures.vc_after, s.of.id))


def _service(groups: Sequence[GroupReport]) -> list[tuple[str, float, float]]:
    """Each level of service with the part of all vehicles [%] that meets it before and after."""
    before: dict[str, float] = defaultdict(float)
    after: dict[str, float] = defaultdict(float)
    vehicles = 0.0
    for figures in (r.figures for g in groups for s in g.of_signals for r in s.rows):
        before[figures.los_before] += figures.vehicles
        after[figures.los_after] += figures.vehicles
        vehicles += figures.vehicles
    if not vehicles:
        return []
    return [(los, 100 * before[los] / vehicles, 100 * after[los] / vehicles) for los in LEVELS_OF_SERVICE]


# ------------------------------------------------------------------------------------------- into the text


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters.update(
        number=_number,
        signed=_signed,
        delay=_delay,
        hours=_hours,
        percent=_percent,
        clock=clock,
        picture=_picture,
        day_strip=day_strip,
        gain_chart=gain_chart,
        day_time=_day_time,
        difference=_difference,
        state_says=_state_says,
    )
    return made


def _shown(value: Any) -> Any:
    """Text of any origin on one line, without what can't be printed."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return printable(re.sub(r"\s+", " ", value))
    return value


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")


def _signed(value: float, digits: int = 1) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:+,.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def _percent(part: float, whole: float) -> str:
    return f"{_signed(100.0 * part / whole, 0)} %" if whole > 0 else "–"


def _delay(delay: Expected | None) -> str:
    """Such as 32.1 (28.0–40.2)."""
    if delay is None:
        return "–"
    return f"{_number(delay.mean_s, 1)} ({_number(delay.low_s, 1)}–{_number(delay.high_s, 1)})"


def _hours(delay: VehicleHours) -> str:
    return f"{_number(delay.mean, 1)} ({_number(delay.low, 1)}–{_number(delay.high, 1)})"


def _difference(difference: Mapping[str, float | None]) -> str:
    """A paired difference with its interval, such as −3.1 (−4.0 to −2.2)."""
    mean, low, high = (difference[name] for name in ("mean", "low", "high"))
    if mean is None or low is None or high is None:
        return "–"
    return f"{_signed(mean)} ({_signed(low)} to {_signed(high)})"


def _day_time(seconds: float) -> str:
    return clock(round(seconds / 60.0))


def _picture(svg: bytes) -> str:
    # as an image of its own: ids of several drawings can't meet, and no script in one can run
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


_STATES = {
    ApprovalState.WAITING.value: "waits for a decision",
    ApprovalState.AUTOMATIC.value: "approved automatically, within the agency's bounds",
    ApprovalState.APPROVED.value: "approved by a person",
    ApprovalState.REJECTED.value: "rejected by a person: the plans in place stay",
    ApprovalState.KEPT.value: "not shown to be better: the plans in place stay",
    ApprovalState.REFUSED.value: "refused by the safety check: the plans in place stay",
    ApprovalState.FAILED.value: "without plans: those in place stay",
    UNDECIDED: "not in the queue yet",
}


def _state_says(state: str) -> str:
    return _STATES.get(state, state)
