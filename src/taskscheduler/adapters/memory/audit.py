"""The audit trail in memory."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from taskscheduler.domain.audit import Pruned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.audit import AuditEntry, AuditQuery


class MemoryAuditTrail:
    """``AuditTrail`` in memory."""

    def __init__(self, state: State) -> None:
        """Read ``state``."""
        self._state = state

    async def list(self, query: AuditQuery) -> Sequence[AuditEntry]:
        """See ``AuditTrail.list``."""
        found = (
            entry
            for entry in reversed(self._state.audit)
            if (query.before is None or entry.id < query.before)
            and (query.task_id is None or entry.task_id == query.task_id)
            and (query.target is None or entry.target == query.target)
            and (query.actor is None or query.actor in {entry.actor, entry.key_id})
        )
        return list(islice(found, query.limit))

    async def prune(self, keep: timedelta, *, dry_run: bool = False) -> Pruned:
        """See ``AuditTrail.prune``."""
        limit = self._state.now() - keep
        old = sum(entry.at < limit for entry in self._state.audit)
        if not dry_run:
            self._state.audit[:] = [each for each in self._state.audit if each.at >= limit]
        return Pruned(old)
