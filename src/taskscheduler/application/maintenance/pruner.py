"""Dropping what has been kept long enough, now and then; any worker may do it, none must."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.retention import Expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.retention import RetentionPolicy
    from taskscheduler.domain.task import Task

EVERY_S: Final = 600.0
STEADY_S: Final = 60.0
"""For so long a clock that has leapt must go on as clocks do."""
LEAP: Final = timedelta(minutes=1)
FIRST_LEAP: Final = timedelta(hours=1)
"""Beyond this machine's clock, where nothing better is known."""

log = logging.getLogger("taskscheduler.retention")


class Retention:
    """Takes a turn when it is time; while there is more to do, it is time at every look."""

    def __init__(
        self,
        store: Store,
        policy: RetentionPolicy,
        export: Callable[[Sequence[Task]], None] | None = None,
        *,
        audit: timedelta | None = None,
    ) -> None:
        """Keep what ``policy`` says; hand the rest to ``export`` before it goes.

        The audit trail is kept for ``audit``; None for ever.
        """
        self._store = store
        self._policy = policy
        self._export = export
        self._audit = audit
        self._next_at = store.clock.monotonic()
        self._seen: tuple[datetime, float] | None = None

    async def turn(self) -> None:
        """Do a bounded part of what is due.

        Raises:
            StoreUnavailable: the store went away; another turn goes on.
        """
        now = self._store.clock.monotonic()
        if now < self._next_at:
            return
        # Set before: what fails is not tried again and again.
        self._next_at = now + EVERY_S
        if (self._policy or self._audit is not None) and not await self._trusts_the_clock(now):
            self._next_at = now + STEADY_S
            return
        more = [await self._prune(), await self._expire()]
        if any(more):
            self._next_at = now

    async def _trusts_the_clock(self, monotonic: float) -> bool:
        """Tell whether the store's clock may decide what is old: it must not have leapt ahead.

        What is dropped is gone, though the clock be back the next moment. One that goes on from
        where it leapt to is believed at the next look.
        """
        now = await self._store.schedules.now()
        if self._seen is None:
            ahead = now - datetime.now(UTC) - FIRST_LEAP
        else:
            then, monotonic_then = self._seen
            ahead = now - then - timedelta(seconds=monotonic - monotonic_then) - LEAP
        self._seen = now, monotonic
        if ahead <= timedelta(0):
            return True
        log.warning("the store's clock has leapt ahead, to %s; nothing is dropped", now.isoformat())
        return False

    async def _expire(self) -> bool:
        """Drop tasks; return whether there is more to do."""
        if not self._policy:
            return False
        try:
            expiry = await self._store.archive.expire(self._policy, export=self._export)
        except OSError as error:
            log.warning("nothing is dropped, for it cannot be exported: %s", error)
            return False
        if expiry.dropped or expiry.deleted:
            log.info("dropped %d tasks, deleted %d", expiry.dropped, expiry.deleted)
        return expiry.more

    async def _prune(self) -> bool:
        """Delete old entries of the audit trail; return whether there is more to do."""
        if self._audit is None:
            return False
        pruned = await self._store.audit.prune(self._audit)
        if pruned.deleted:
            log.info("deleted %d entries of the audit trail", pruned.deleted)
        return pruned.more


async def expire_all(
    store: Store,
    policy: RetentionPolicy,
    *,
    export: Callable[[Sequence[Task]], None] | None = None,
    on_turn: Callable[[Expiry], None] = lambda _: None,
) -> Expiry:
    """Take turns until nothing is left to do; return all that was done."""
    total = Expiry()
    while True:
        expiry = await store.archive.expire(policy, export=export)
        total = Expiry(
            (*total.days, *expiry.days),
            total.dropped + expiry.dropped,
            total.deleted + expiry.deleted,
        )
        on_turn(total)
        if not expiry.more:
            return total


async def prune_all(store: Store, keep: timedelta) -> int:
    """Take turns until no entry of the audit trail is older than ``keep``; return how many went."""
    deleted = 0
    while True:
        pruned = await store.audit.prune(keep)
        deleted += pruned.deleted
        if not pruned.more:
            return deleted
