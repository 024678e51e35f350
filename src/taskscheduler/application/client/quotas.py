"""Whether a caller may store more, by what its queues hold.

What they hold is counted now and then, and what is let in meanwhile is added to it. So a quota is
kept to within what other processes let in at the same moment: it keeps one tenant from filling the
store of all, and is no bill.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import QuotaUsedUp, TooMuchWaiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.quota import Quota, Usage

COUNT_EVERY_S: Final = 1.0
COUNT_AGAIN_S: Final = 0.1
"""Before somebody is refused what was counted so long ago is counted anew."""
COUNT_SHARE: Final = 0.02
"""Counting takes no more than so much of the time, however much there is to count."""
KEPT_MAX: Final = 1_000
"""Of so many keys it is remembered what was counted."""


@dataclass(slots=True)
class _Counted:
    """What was counted for one prefix and quota, and what was let in since."""

    usage: Usage | None = None
    queues: set[str] = field(default_factory=set)
    waiting: int = 0
    waiting_bytes: int = 0
    at: float = 0.0
    took_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Quotas:
    """The quotas of all callers of one process."""

    def __init__(self, store: Store) -> None:
        """Have counted nothing yet."""
        self._store = store
        self._counted: dict[tuple[str, Quota], _Counted] = {}

    async def admit(self, caller: Caller, tasks: Sequence[NewTask]) -> None:
        """Let ``caller`` store ``tasks``. Raises as ``admit_more``."""
        size = sum(len(task.payload_json) for task in tasks)
        await self.admit_more(caller, [task.queue for task in tasks], size)

    async def admit_more(self, caller: Caller, queues: Sequence[str], size: int) -> None:
        """Let ``caller`` have another task wait for each of ``queues``, of ``size`` bytes in all.

        Raises:
            TooMuchWaiting: not until some of what waits has begun.
            QuotaUsedUp: not into so many queues.
        """
        quota = caller.quota
        if quota is None:
            return
        counted = await self._fresh(caller, quota, COUNT_EVERY_S)
        refusal = _refusal(quota, counted, queues, size)
        if refusal is not None:
            counted = await self._fresh(caller, quota, COUNT_AGAIN_S)
            refusal = _refusal(quota, counted, queues, size)
        if refusal is not None:
            raise refusal
        counted.queues.update(queues)
        counted.waiting += len(queues)
        counted.waiting_bytes += size

    async def admit_schedule(self, caller: Caller) -> None:
        """Let ``caller`` make one more schedule. Raises QuotaUsedUp."""
        if caller.quota is None or caller.quota.schedules is None:
            return
        usage = await self._store.backlog_stats.usage(caller.queue_prefix or "", up_to=caller.quota)
        if usage.schedules >= caller.quota.schedules:
            message = f"this key may keep {caller.quota.schedules} schedules, and there are so many"
            raise QuotaUsedUp(message)

    async def _fresh(self, caller: Caller, quota: Quota, age_s: float) -> _Counted:
        prefix = caller.queue_prefix or ""
        counted = self._counted.get((prefix, quota))
        if counted is None:
            if len(self._counted) >= KEPT_MAX:
                self._counted.clear()
            counted = self._counted[prefix, quota] = _Counted()
        async with counted.lock:
            clock = self._store.clock
            age = clock.monotonic() - counted.at
            if counted.usage is None or age >= max(age_s, counted.took_s / COUNT_SHARE):
                began_at = clock.monotonic()
                counted.queues.clear()
                counted.waiting = counted.waiting_bytes = 0
                counted.usage = await self._store.backlog_stats.usage(prefix, up_to=quota)
                counted.at = clock.monotonic()
                counted.took_s = counted.at - began_at
        return counted


def _refusal(
    quota: Quota, counted: _Counted, queues: Sequence[str], size: int
) -> TooMuchWaiting | QuotaUsedUp | None:
    """Return why a task more for each of ``queues``, of ``size`` bytes in all, may not wait."""
    usage = counted.usage
    assert usage is not None  # noqa: S101 - it was just counted
    if quota.queues is not None:
        used = usage.queues | counted.queues
        named = set(queues) - used
        if named and len(used) + len(named) > quota.queues:
            return QuotaUsedUp(
                f"this key may use {quota.queues} queues at a time, and {min(named)} would be one"
                " more; a queue is free again some time after its last task has gone"
            )
    waiting = usage.waiting + counted.waiting + len(queues)
    if quota.waiting is not None and waiting > quota.waiting:
        return TooMuchWaiting(
            f"of this key {quota.waiting} tasks may wait, and with these there would be"
            f" {waiting} at least; come again when some have begun"
        )
    whole = usage.waiting_bytes + counted.waiting_bytes + size
    if quota.waiting_bytes is not None and whole > quota.waiting_bytes:
        return TooMuchWaiting(
            f"of this key payloads of {quota.waiting_bytes} bytes may wait, and with these there"
            f" would be about {whole}; come again when some have begun"
        )
    return None
