"""The audit trail in memory."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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
