"""The shapes of queues."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from taskscheduler.domain.queue import Count, Queue


class CountMessage(Struct):
    """How many there are; unless ``exact``, at least so many."""

    count: int
    exact: bool

    @classmethod
    def of(cls, count: Count) -> CountMessage:
        """Return ``count`` as it is sent."""
        return cls(count.number, count.exact)


class QueueMessage(Struct, kw_only=True):
    """A queue: Pending tasks whose time has come, those for later, those in progress."""

    name: str
    paused: bool
    paused_at: datetime | None
    due: CountMessage
    later: CountMessage
    in_progress: CountMessage
    oldest_due_at: datetime | None

    @classmethod
    def of(cls, queue: Queue) -> QueueMessage:
        """Return ``queue`` as it is sent."""
        return cls(
            name=queue.name,
            paused=queue.is_paused,
            paused_at=queue.paused_at,
            due=CountMessage.of(queue.due),
            later=CountMessage.of(queue.later),
            in_progress=CountMessage.of(queue.running),
            oldest_due_at=queue.oldest_due_at,
        )
