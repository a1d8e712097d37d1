"""Operation: the loop that counts, forecasts and retimes every quarter hour, around SUMO or a street."""

from signals.operation.knowledge import OperateSettings
from signals.operation.loop import Operated, Slot, operate

__all__ = ["OperateSettings", "Operated", "Slot", "operate"]
