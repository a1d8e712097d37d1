"""What is in force: the latest approved plans of earlier nights for a kind of day, signal by signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from signals import __version__
from signals.errors import InputError
from signals.model.counts import Floats
from signals.model.network import Network
from signals.model.night import DayType
from signals.model.plan import PlanSet, TimingPlan
from signals.nightly.approvals import IN_FORCE, read_approvals
from signals.nightly.code import digest_of
from signals.nightly.folder import list_nights, night_folder, read_forecast, read_group


@dataclass(frozen=True, slots=True)
class PlanOrigin:
    """Which approved plan a signal has: of which night and group, and its digest."""

    night: date
    group: str
    plan: str


@dataclass(frozen=True, eq=False)
class PlansInForce:
    """The plans in force on a day, by signal.

    `sets` holds the plan set of each signal, `origin` where that is from, `design_vph` the demand by
    movement that it was made for, float64[n_slot], where that night's forecasts are still there.
    """

    sets: Mapping[str, PlanSet]
    origin: Mapping[str, PlanOrigin]
    design_vph: Mapping[str, Floats]


def plans_in_force(data: Path, day: date, day_type: DayType, network: Network) -> PlansInForce:
    """What is in force on a day by the approvals of the nights in `data`.

    Only nights before the day count, so that what is decided on a night doesn't change what it was compared with.
    Where no plan was approved for holidays those of Sundays hold, and on events those of the day of the week.
    Signals without an approved plan aren't in it: their programs of the network hold.
    """
    sets: dict[str, PlanSet] = {}
    origin: dict[str, PlanOrigin] = {}
    for kind in kinds_of(day, day_type):
        missing = set(network.intersections) - set(sets)
        for night in list_nights(data, day):
            if not missing:
                break
            _of_night(data, night, kind, missing, sets, origin)
    return PlansInForce(sets, origin, design_of(data, network, origin))


def design_of(data: Path, network: Network, origin: Mapping[str, PlanOrigin]) -> dict[str, Floats]:
    """The demand that plans were made for, by movement [veh/h], as far as the nights in `data` still have it."""
    found: dict[str, Floats] = {}
    for night in sorted({of.night for of in origin.values()}):
        signals = [s for s, of in origin.items() if of.night == night]
        wanted = {m.id for s in signals for m in network.intersections[s].movements}
        for path in sorted((night_folder(data, night).path / "demand").glob("*.npz")):
            with suppress(InputError):
                made, _, _ = read_forecast(path)
                for k, name in enumerate(made.names):
                    if name in wanted:
                        found[name] = made.mean[:, k] * (60.0 / made.step_min)
    return found


def kinds_of(day: date, day_type: DayType) -> tuple[DayType, ...]:
    """Day types whose plans hold on a day, the first that has any."""
    if day_type is DayType.HOLIDAY:
        return (day_type, DayType.SUNDAY)
    if day_type is DayType.EVENT:
        return (day_type, {5: DayType.SATURDAY, 6: DayType.SUNDAY}.get(day.weekday(), DayType.WEEKDAY))
    return (day_type,)


def _of_night(
    data: Path,
    night: date,
    kind: DayType,
    missing: set[str],
    sets: dict[str, PlanSet],
    origin: dict[str, PlanOrigin],
) -> None:
    folder = night_folder(data, night)
    found = read_approvals(folder)
    if found is None or found[0] != kind:
        return
    for approval in found[1]:
        wanted = missing.intersection(approval.signals)
        if approval.state not in IN_FORCE or not wanted:
            continue
        group = read_group(folder.group(approval.group))
        if group is None or group.plans is None or group.plans.digest != approval.plan:
            continue
        for signal in wanted:
            sets[signal] = group.plans
            origin[signal] = PlanOrigin(night, approval.group, approval.plan)
        missing -= wanted


def set_in_place(network: Network, signals: Sequence[str], sets: Mapping[str, PlanSet]) -> PlanSet | None:
    """The plans in place of a group as one set, or None where all its signals have the programs of the network.

    Where the signals' plans are of several sets, since groups were others when they were made, the day has a period
    for every one of their changes; a signal that isn't concerned by a change goes on as it was.
    """
    digests = {id(of): of.digest for of in {id(of): of for of in sets.values()}.values()}
    known = {signal: sets[signal] for signal in signals if signal in sets}
    if not known:
        return None
    of_signal = {signal: digests[id(of)] for signal, of in known.items()}
    chosen = {of_signal[signal]: of for signal, of in known.items()}
    only = next(iter(chosen.values()))
    if len(chosen) == 1 and set(only.periods[0]) == set(known) == set(signals):
        return only
    breaks = sorted(
        (min(of.switch_times[s][k] for s in known if of_signal[s] == digest), digest, k)
        for digest, of in chosen.items()
        for k in range(len(of.periods) - 1)
    )
    rows: list[dict[str, TimingPlan]] = [{} for _ in range(len(breaks) + 1)]
    switches: dict[str, tuple[float, ...]] = {}
    for signal in sorted(signals):
        if signal in known:
            plans, times = _stretched(signal, known[signal], of_signal[signal], breaks)
        else:
            plans, times = _constant(network, signal, len(breaks))
        if plans is None:
            continue
        for row, plan in zip(rows, plans, strict=True):
            row[signal] = plan
        switches[signal] = tuple(times)
    hashed = digest_of("in place", sorted(chosen), sorted(signals))
    return PlanSet(tuple(rows), switches if breaks else {}, {}, 0, __version__, hashed)


def _constant(network: Network, signal: str, breaks: int) -> tuple[list[TimingPlan] | None, Sequence[float]]:
    program = network.intersections[signal].program
    if program is None or not program.intervals:
        return None, ()
    shown = replace(program, offset_s=program.offset_s % program.cycle_s)
    return [TimingPlan(shown)] * (breaks + 1), (0.0,) * breaks


def _stretched(
    signal: str, of: PlanSet, own_digest: str, breaks: Sequence[tuple[float, str, int]]
) -> tuple[list[TimingPlan] | None, Sequence[float]]:
    """A signal's plans with a row more for each change of others: the same plan goes on."""
    period, plans, times = 0, [of.periods[0][signal]], list[float]()
    own = of.switch_times.get(signal, ())
    for break_s, digest, _ in breaks:
        if digest == own_digest:
            times.append(own[period])
            period += 1
        else:
            since = own[period - 1] if period else 0.0
            until = own[period] if period < len(own) else max(break_s, since)
            times.append(min(max(break_s, since), until))
        plans.append(of.periods[period][signal])
    return plans, times
