"""Operation: the loop that counts, forecasts and retimes every quarter hour, around SUMO or a street."""

from signals.operation.loop import Operated, OperateSettings, operate

__all__ = ["OperateSettings", "Operated", "operate"]
