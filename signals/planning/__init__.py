"""From a scenario to a plan that has been proven: `path.plan_case` is the whole story."""

from signals.planning.case import Case, read_case
from signals.planning.path import Planned, plan_case
from signals.planning.race import Raced, training_seeds
from signals.planning.scope import in_scope, is_safe_order, is_showable, safe_drops

__all__ = [
    "Case",
    "Planned",
    "Raced",
    "in_scope",
    "is_safe_order",
    "is_showable",
    "plan_case",
    "read_case",
    "safe_drops",
    "training_seeds",
]
