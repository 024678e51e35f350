"""Queues: pausing them, and how much waits in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.queue import Backlog, Queue
    from taskscheduler.domain.quota import Quota, Usage
    from taskscheduler.domain.values import WorkerId


class QueueRegistry(Protocol):
    """Queues: what they hold, and whether their tasks may begin.

    What is done ``by`` somebody is written into the audit trail, here as with tasks: a queue that
    is paused already is not paused again.
    """

    async def list(self, *, after: str = "", limit: int) -> Sequence[Queue]:
        """Return up to ``limit`` queues by name, those after ``after``, by bytes.

        A queue is there while a task, a worker or a pause names it, and for a while after that.
        """
        ...

    async def get(self, name: str) -> Queue:
        """Return the queue of that name, which may be empty: nobody has to make one."""
        ...

    async def pause(self, name: str, *, by: Caller | None = None) -> None:
        """Let no task of the queue begin until ``resume``.

        When this returns, no claim returns a task of the queue that is not leased by now. What
        is leased goes on. Repeating changes nothing; the queue is paused since the first time.
        """
        ...

    async def resume(self, name: str, *, by: Caller | None = None) -> None:
        """Let tasks of the queue begin again. Repeating changes nothing."""
        ...

    async def running(self) -> tuple[Mapping[WorkerId, int], bool]:
        """Return how many tasks each worker holds, and whether that is all.

        Of a worker that is left out none was found.
        """
        ...


class BacklogStats(Protocol):
    """How full the store is. Looking costs milliseconds, however much there is."""

    async def backlog(self, *, exact_up_to: int) -> Backlog:
        """Count the Pending tasks of every queue in which some wait.

        Other queues are told of as empty ones. Where tasks wait in thousands of lanes, or there
        are thousands of queues, some are left out, the latest first, and that is said.

        Of one queue, kind and priority up to ``exact_up_to`` due and as many scheduled tasks are
        counted; where there are more, the number is an estimate, and never below that.
        """
        ...

    async def usage(self, prefix: str, *, up_to: Quota) -> Usage:
        """Count what the queues hold whose names begin with ``prefix``.

        Only what ``up_to`` limits is counted, and no further than one more than that. The size of
        very many payloads is reckoned from that of some.
        """
        ...

    def connections(self) -> Mapping[str, int]:
        """Return how many connections to the store are ``used``, ``idle``, and at most, ``max``.

        ``waiting`` callers wait for one. Empty where there are no connections.
        """
        ...
