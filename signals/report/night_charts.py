"""Small charts for the night's page, as SVG that stands in the page itself: no meaning hangs on colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from signals.diagrams.sheet import BACKWARD, FAINT, FORWARD, INK, MUTED, PAPER
from signals.model.counts import MINUTES_A_DAY
from signals.report.night import PeriodReport, ScheduleFigures
from signals.report.night_words import span

_STRIP_WIDTH = 720.0
_STRIP_HEIGHT = 46.0
_FILLS = ("#CFE3F1", "#FBE3D2")
"""By turns, so that neighbours differ; the cycle stands in each."""
_CHART_WIDTH = 340.0
_CHART_HEIGHT = 150.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 16.0, 26.0


def day_strip(periods: Sequence[PeriodReport]) -> Markup:
    """The day from left to right, a box a period with its cycle [s], and the hours below."""
    scale = _STRIP_WIDTH / MINUTES_A_DAY
    parts = []
    for k, period in enumerate(periods):
        x, width = period.begin_min * scale, (period.end_min - period.begin_min) * scale
        label = f"{period.cycle_s} s" if width >= 34 else f"{period.cycle_s}" if width >= 20 else ""
        parts.append(
            f"<g><title>{span(period.begin_min, period.end_min)}, cycle {period.cycle_s} s</title>"
            f'<rect x="{x:.1f}" y="1" width="{width:.1f}" height="26" fill="{_FILLS[k % 2]}" stroke="{MUTED}"/>'
            f"{_text(x + width / 2, 18, label, 'middle', 11)}</g>"
        )
    for hour in range(0, 25, 3):
        anchor = "start" if hour == 0 else "end" if hour == 24 else "middle"
        x = hour * 60 * scale
        parts.append(f'<path d="M{x:.1f} 27v4" stroke="{INK}"/>')
        parts.append(_text(x, 42, f"{hour:02d}:00", anchor, 10))
    return _svg(_STRIP_WIDTH, _STRIP_HEIGHT, "Plans through the day, with their cycles", parts)


def gain_chart(schedule: ScheduleFigures) -> Markup:
    """Delay by number of plans, between the bounds: one plan all day above, a plan in every slot below."""
    costs = schedule.by_plans
    low = min((schedule.wait_and_see_veh_h, *costs))
    high = max((schedule.one_plan_veh_h, *costs))
    room = (high - low) * 0.08 or max(abs(high), 1.0) * 0.01
    low, high = low - room, high + room
    width, height = _CHART_WIDTH - _LEFT - _RIGHT, _CHART_HEIGHT - _TOP - _BOTTOM

    def x(count: int) -> float:
        return _LEFT + width * (count - 0.5) / max(len(costs), 1)

    def y(cost: float) -> float:
        return _TOP + height * (high - cost) / (high - low)

    parts = []
    for cost, name in ((schedule.one_plan_veh_h, "one plan"), (schedule.wait_and_see_veh_h, "wait and see")):
        parts.append(
            f'<path d="M{_LEFT} {y(cost):.1f}H{_CHART_WIDTH - _RIGHT}" stroke="{MUTED}" stroke-dasharray="4 3"/>'
        )
        parts.append(_text(_LEFT - 4, y(cost) + 3, f"{cost:,.1f}", "end", 9))
        parts.append(_text(_CHART_WIDTH - _RIGHT, y(cost) - 3, name, "end", 9, MUTED))
    points = " ".join(f"{x(k + 1):.1f},{y(cost):.1f}" for k, cost in enumerate(costs))
    parts.append(f'<polyline points="{points}" fill="none" stroke="{FORWARD}" stroke-width="1.5"/>')
    for k, cost in enumerate(costs):
        chosen = k + 1 == schedule.plans
        look = f'r="5" fill="{BACKWARD}"' if chosen else f'r="3" fill="{PAPER}" stroke="{FORWARD}"'
        parts.append(
            f'<circle cx="{x(k + 1):.1f}" cy="{y(cost):.1f}" {look}>'
            f"<title>{k + 1} plans: {cost:,.1f} veh·h</title></circle>"
        )
        parts.append(_text(x(k + 1), _CHART_HEIGHT - 13, str(k + 1), "middle", 10, INK, bold=chosen))
    bottom = _CHART_HEIGHT - _BOTTOM
    parts.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{_CHART_WIDTH - _RIGHT}" fill="none" stroke="{FAINT}"/>')
    parts.append(_text(_LEFT + width / 2, _CHART_HEIGHT - 2, "plans at most", "middle", 9, MUTED))
    parts.append(_text(2, 9, "veh·h a day", "start", 9, MUTED))
    return _svg(_CHART_WIDTH, _CHART_HEIGHT, "Delay of the day by number of plans", parts)


def _text(
    x: float, y: float, text: str, anchor: str, size: int, colour: str = INK, *, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>'
        f"{escape(text)}</text>"
    )


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> Markup:
    return Markup(  # figures and escaped texts alone
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
