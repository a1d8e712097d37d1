"""Between SUMO's signal programs and NEMA controllers: cabinets, patterns, and the time-base schedule."""

from signals.controllers.mapping.cabinets import cabinet_of
from signals.controllers.mapping.patterns import pattern_of
from signals.controllers.mapping.replay import states_of
from signals.controllers.mapping.schedules import schedule_of

__all__ = ["cabinet_of", "pattern_of", "schedule_of", "states_of"]
