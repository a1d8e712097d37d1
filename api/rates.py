"""How many requests somebody may make: windows that move along with the clock, kept in memory."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable

from limits import RateLimitItem, parse_many


class Rates:
    """Limits such as `50/second;1000/minute`, for each caller; requests that are refused don't count.

    The storage that `limits` brings starts a thread for most requests, which takes longer than some of them.
    """

    def __init__(self, limits: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits: list[RateLimitItem] = parse_many(limits)
        self._clock = clock
        self._passed: defaultdict[tuple[int, int], deque[float]] = defaultdict(deque)

    def exceeded(self, caller: int) -> tuple[RateLimitItem, float] | None:
        """None where one more request is within all limits, and it counts; else a limit and seconds to wait."""
        now = self._clock()
        windows = []
        for k, limit in enumerate(self._limits):
            passed, lasts = self._passed[caller, k], limit.get_expiry()
            while passed and passed[0] <= now - lasts:
                passed.popleft()
            if len(passed) >= limit.amount:
                return limit, passed[0] + lasts - now
            windows.append(passed)
        for passed in windows:
            passed.append(now)
        return None
