"""The process's own clock and ids."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, SafeUUID

from uuid_utils import uuid7

if TYPE_CHECKING:
    from taskscheduler.domain.values import TaskId

_MONOTONIC: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
AHEAD_MS: Final = 10_000
"""So far ids may be ahead of the clock, for the sake of their order, where it is set back."""
_UNKNOWN: Final = SafeUUID.unknown
getrandbits: Final = SystemRandom().getrandbits
_new = object.__new__
_set_int = vars(UUID)["int"].__set__
_set_safety = vars(UUID)["is_safe"].__set__


class SystemClock:
    """The operating system's clock."""

    def now(self) -> datetime:
        """Return the time in UTC; only the in-memory store takes it for the store's time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only ever grow, while the machine sleeps too where that is told."""
        return time.clock_gettime(_MONOTONIC)


def new_task_id() -> TaskId:
    """Return a UUID v7: its first 48 bits are the time in milliseconds, so ids sort by age."""
    # As the library's own ``compat`` makes it, in half the time: past all checks of UUID's own.
    task_id: Any = _new(UUID)
    number = uuid7().int
    now_ms = time.time_ns() // 1_000_000
    if (number >> 80) - now_ms > AHEAD_MS:
        # The library never goes back: after a clock that was far ahead for a moment, its ids would
        # be of that time for as long as the process lives.
        number = now_ms << 80 | 7 << 76 | getrandbits(12) << 64 | 2 << 62 | getrandbits(62)
    _set_int(task_id, number)
    _set_safety(task_id, _UNKNOWN)
    return task_id
