"""What phase options and a plan ask of each phase, as bit masks."""

from __future__ import annotations

from dataclasses import dataclass

from signals.controllers.objects import bits_of
from signals.controllers.virtual.coordination import Plan
from signals.controllers.virtual.phases import Phases
from signals.model.controller import PhaseOption

RECALLS = PhaseOption.MIN_VEHICLE_RECALL | PhaseOption.MAX_VEHICLE_RECALL


@dataclass(frozen=True, slots=True)
class Orders:
    """Masks with bit `1 << n` for phase n.

    Fields
    ------
    enabled, walks : phases that there are, and those with pedestrians
    lock : phases that remember a vehicle that has called in red
    soft, recall, max_recall, ped_recall : phases that are called without anybody calling
    dual : phases that go with a phase of the other ring
    rest_in_walk, gap_disable : actuated rest in walk, and no new extension after a gap
    omit, coordinated : phases that the plan never serves, and those that it holds
    """

    enabled: int
    walks: int
    lock: int
    soft: int
    recall: int
    max_recall: int
    ped_recall: int
    dual: int
    rest_in_walk: int
    gap_disable: int
    omit: int
    coordinated: int


def read_orders(phases: Phases, plan: Plan | None) -> Orders:
    """The orders of free operation, or of a plan as well."""

    def having(option: PhaseOption) -> int:
        return bits_of(n for n, p in phases.items() if p.options & option)

    enabled, walks = bits_of(phases), bits_of(n for n, p in phases.items() if p.walk)
    ped_recall = having(PhaseOption.PED_RECALL) & walks | (plan.ped_recall if plan else 0)
    return Orders(
        enabled=enabled,
        walks=walks,
        lock=enabled & ~having(PhaseOption.NON_LOCK_MEMORY),
        soft=having(PhaseOption.SOFT_VEHICLE_RECALL),
        recall=having(RECALLS) | ped_recall | (plan.recall | plan.coordinated if plan else 0),
        max_recall=having(PhaseOption.MAX_VEHICLE_RECALL) | (plan.max_recall if plan else 0),
        ped_recall=ped_recall,
        dual=having(PhaseOption.DUAL_ENTRY),
        rest_in_walk=having(PhaseOption.ACTUATED_REST_IN_WALK),
        gap_disable=having(PhaseOption.SIMULTANEOUS_GAP_DISABLE),
        omit=plan.omitted if plan else 0,
        coordinated=plan.coordinated if plan else 0,
    )
