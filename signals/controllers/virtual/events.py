"""The high-resolution log of a virtual unit: Indiana's codes, and the file that `signals.formats.hires` reads."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from signals.errors import InputError

HEADER = ("TimeStamp", "DeviceId", "EventId", "Parameter")


class Code(IntEnum):
    """What has happened; the parameter is the phase, detector, preempt, … it has happened to."""

    PHASE_ON = 0
    GREEN_BEGIN = 1
    MIN_COMPLETE = 3
    GAP_OUT = 4
    MAX_OUT = 5
    FORCE_OFF = 6
    GREEN_END = 7
    YELLOW_BEGIN = 8
    YELLOW_END = 9
    RED_CLEAR_BEGIN = 10
    RED_CLEAR_END = 11
    PHASE_INACTIVE = 12
    WALK_BEGIN = 21
    PED_CLEAR_BEGIN = 22
    DONT_WALK_BEGIN = 23
    BARRIER = 31
    CALL_ON = 43
    CALL_OFF = 44
    PED_CALL = 45
    DETECTOR_OFF = 81
    DETECTOR_ON = 82
    PREEMPT_CALL_ON = 102
    PREEMPT_CALL_OFF = 104
    PREEMPT_ENTRY = 105
    PREEMPT_DWELL = 107
    PREEMPT_EXIT = 111
    PATTERN = 131
    CYCLE = 132
    OFFSET = 133
    SPLIT_1 = 134
    COORD_STATE = 150
    YIELD_POINT = 151
    FLASH = 173
    ALARM = 174
    MANUAL = 178
    CLOCK_SET = 181
    POWER_LOST = 182
    POWER_BACK = 184


class CoordState(IntEnum):
    """Parameters of COORD_STATE."""

    FREE = 0
    IN_STEP = 1
    ADD = 2
    SUBTRACT = 3
    DWELL = 4
    LOCAL_ZERO = 5
    PICK_UP = 6


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the high-resolution log: UTC in milliseconds, Indiana code, parameter."""

    utc_ms: int
    code: int
    parameter: int


class EventLog:
    """A CSV of events, with the UTC offset in each timestamp, which `signals.formats.hires` reads.

    Raises
    ------
    InputError
        Where the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stream: TextIO = path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: the log can't be written: {error.strerror}") from None
        self._rows = csv.writer(self._stream)
        self._rows.writerow(HEADER)

    def write(self, device: str, events: Iterable[Event]) -> None:
        """Append what has happened at a device."""
        self._rows.writerows((_stamp(e.utc_ms), device, e.code, e.parameter) for e in events)

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


def _stamp(utc_ms: int) -> str:
    moment = datetime.fromtimestamp(utc_ms // 1000, UTC).replace(microsecond=utc_ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds")
