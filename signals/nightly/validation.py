"""The night's plans in SUMO: which groups are run, by workers that see no disk of ours, and what the runs say."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signals.demand.day import turning_of, windows_of_day
from signals.demand.onward import Onward
from signals.errors import InputError
from signals.formats.files import write_whole
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.network import read_network
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.model.night import GroupNight
from signals.model.plan import PlanSet
from signals.nightly.approvals import Evidence, delay_veh_h
from signals.nightly.code import code_digest, digest_of
from signals.nightly.folder import keyed, read_group, read_keyed
from signals.nightly.options import Extent
from signals.nightly.pool import Done, Task
from signals.nightly.stages import Forecasts, Group, Night, Stage

if TYPE_CHECKING:
    from signals.simulation.validation import Window

SEEDS = 5
"""Pairs of runs for each window: the fewest that show a gain of a few percent on most groups."""


Validator = Callable[["ValidationGiven"], Mapping[str, Any]]


@dataclass(frozen=True)
class PackedScenario:
    """A scenario's network and programs as they are on disk, to be sent to a worker."""

    scenario: Scenario
    net: bytes
    additional: tuple[bytes, ...]

    @classmethod
    def of(cls, scenario: Scenario) -> PackedScenario:
        """The files of a scenario.

        Raises
        ------
        InputError
            Where one can't be read.
        """
        try:
            return cls(
                scenario, scenario.net.read_bytes(), tuple(p.read_bytes() for p in scenario.additional)
            )
        except OSError as error:
            raise InputError(f"{error.filename}: can't be read: {error.strerror}") from None

    def unpack(self, folder: Path) -> Scenario:
        """The scenario, in a folder; without its routes."""
        net = folder / self.scenario.net.name
        net.write_bytes(self.net)
        additional = []
        for k, (path, content) in enumerate(zip(self.scenario.additional, self.additional, strict=True)):
            (folder / str(k)).mkdir()
            additional.append(folder / str(k) / path.name)
            additional[-1].write_bytes(content)
        return replace(self.scenario, config=None, net=net, routes=(), additional=tuple(additional))


@dataclass(frozen=True)
class ValidationGiven:
    """What a worker validates a group from."""

    validate: Validator
    key: str
    packed: PackedScenario
    counts: TurningCounts
    before: PlanSet | None
    after: PlanSet
    windows: tuple[Window, ...]
    seeds: tuple[int, ...]


def do_validation(given: ValidationGiven) -> str:
    """The file of what SUMO says of a group's plans."""
    return keyed(given.key, given.validate(given))


def validate_in_sumo(given: ValidationGiven) -> Mapping[str, Any]:
    """Both plans of a group in SUMO, with traffic that follows its counts."""
    from signals.simulation.validation import validate_group

    _folder, scenario, network = _unpacked(given.packed)
    with tempfile.TemporaryDirectory(prefix="greensplit-") as folder:
        found = validate_group(
            scenario,
            network,
            given.counts,
            given.before,
            given.after,
            windows=given.windows,
            seeds=given.seeds,
            folder=Path(folder),
        )
    return found.to_json()


@lru_cache(maxsize=1)
def _unpacked(packed: PackedScenario) -> tuple[tempfile.TemporaryDirectory[str], Scenario, Network]:
    """The city's scenario on a worker's own disk, once for all groups; the folder goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="greensplit-")
    scenario = packed.unpack(Path(folder.name))
    return folder, scenario, read_network(scenario)


# -------------------------------------------------------------------------------------------------- stage


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A group with plans, and what its validation would be made of."""

    group: Group
    after: PlanSet
    counts: TurningCounts
    key: str


def validate_groups(
    night: Night, groups: Mapping[str, Group], forecasts: Forecasts, validate: Validator
) -> dict[str, Mapping[str, Any]]:
    """What SUMO says of the groups that are validated, or `failed` with the reason."""
    options = night.options
    stage = night.stages["validation"] = Stage()
    if options.validate is Extent.NONE:
        _remove_others(night, ())
        return {}
    windows = _windows(forecasts)
    first = options.request.seed
    seeds = tuple(range(first, first + SEEDS))
    candidates = _candidates(night, groups, forecasts, windows, seeds)
    chosen = _chosen(night, candidates, windows, seeds)
    _remove_others(night, tuple(chosen))
    wanted = [c for c in chosen.values() if read_keyed(_path(night, c), c.key) is None]
    stage.there = len(chosen) - len(wanted)
    packed = PackedScenario.of(night.city.scenario)

    def tasks() -> Iterator[Task]:
        for c in wanted:
            given = ValidationGiven(
                validate, c.key, packed, c.counts, c.group.in_place, c.after, windows, seeds
            )
            yield Task(c.group.subarea.id, given)

    passing: dict[str, str] = {}

    def keep(done: Done) -> None:
        candidate = chosen[done.id]
        if done.passing:
            passing[done.id] = done.failed
        else:
            text = keyed(candidate.key, {"failed": done.failed}) if done.failed else done.value
            write_whole(_path(night, candidate), text)

    night.work("validation", do_validation, len(chosen), tasks(), keep)
    return {
        id_: read_keyed(_path(night, c), c.key) or {"failed": passing.get(id_, "not run")}
        for id_, c in chosen.items()
    }


def _windows(forecasts: Forecasts) -> tuple[Window, ...]:
    demand = forecasts.demand.everything()
    step_s = 60.0 * demand.forecast.step_min
    return tuple((first * step_s, last * step_s) for first, last in windows_of_day(demand))


def _candidates(
    night: Night,
    groups: Mapping[str, Group],
    forecasts: Forecasts,
    windows: Sequence[Window],
    seeds: Sequence[int],
) -> dict[str, _Candidate]:
    onward = Onward.of(night.network)
    found = {}
    for id_, group in groups.items():
        night_of_group = read_group(night.folder.group(id_), group.key)
        if night_of_group is None or night_of_group.plans is None:
            continue
        signals = [s for s in group.subarea.signals if s in night_of_group.plans.periods[0]]
        counts = _counts(night.network, forecasts, signals, onward)
        flows = [(s, sorted(rows.items())) for s, rows in sorted(counts.counts.items())]
        key = digest_of(
            code_digest(),
            "validation",
            group.key,
            night_of_group.plans.digest,
            tuple(windows),
            tuple(seeds),
            flows,
            sorted(counts.link_flows.items()),
        )
        found[id_] = _Candidate(group, night_of_group.plans, counts, key)
    return found


def _counts(network: Network, forecasts: Forecasts, signals: Sequence[str], onward: Onward) -> TurningCounts:
    approaches = {(s, m.approach) for s in signals for m in network.intersections[s].movements}
    around = onward.around(signals, approaches)
    movements = [m.id for s in around for m in network.intersections[s].movements]
    demand = forecasts.demand.of(movements)
    slots = len(demand.forecast.times)
    return turning_of(network, demand, signals, 0, slots, onward=onward)


def _chosen(
    night: Night, candidates: Mapping[str, _Candidate], windows: Sequence[Window], seeds: Sequence[int]
) -> dict[str, _Candidate]:
    if night.options.validate is Extent.ALL or not candidates:
        return dict(candidates)
    from signals.simulation.validation import AtStake, expected_cost_s, sample_groups

    at_stake = []
    for id_, c in candidates.items():
        found = read_group(night.folder.group(id_), c.group.key)
        assert found is not None
        vehicles = _vehicles(found)
        before, after = delay_veh_h(found)
        gain_s = 3600.0 * (before - after) / vehicles if vehicles else 0.0
        at_stake.append(AtStake(id_, gain_s, vehicles, expected_cost_s(c.counts, windows, len(seeds))))
    budget_s = 60.0 * night.options.validation_budget_min
    return {g: candidates[g] for g in sample_groups(at_stake, budget_s, night.options.request.seed)}


def _vehicles(night: GroupNight) -> float:
    return sum(row.vehicles for rows in (night.signals or {}).values() for row in rows)


def _path(night: Night, candidate: _Candidate) -> Path:
    return night.folder.validation(candidate.group.subarea.id)


def _remove_others(night: Night, chosen: Sequence[str]) -> None:
    kept = {night.folder.validation(g) for g in chosen}
    for path in (night.folder.path / "validation").iterdir():
        if path not in kept:
            path.unlink()


def evidence_of(facts: Mapping[str, Any]) -> Evidence:
    """What approval needs to know of a validation."""
    if "failed" in facts:
        return Evidence("failed", f"couldn't be validated: {facts['failed']}")
    return Evidence(str(facts["outcome"]), str(facts["reason"]))
