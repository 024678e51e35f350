"""What a worker that traces does besides; one that does not has none of it in its way."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from taskscheduler.application.worker.attempt import AttemptRunner
from taskscheduler.domain.errors import TaskSchedulerError
from taskscheduler.domain.status import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskscheduler.application.worker.context import Context
    from taskscheduler.domain.lease import Lease, Settlement
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.ports.tracing import Tracing

LOST = "lost"
STOPPED = "stopped"

log = logging.getLogger("taskscheduler.worker")


async def with_traces(tasks: TaskRepository, leases: Sequence[Lease]) -> Sequence[Lease]:
    """Return ``leases``, each with the trace of its task; one look for all of them.

    Where that fails they are run without: a trace is worth no delay and no attempt.
    """
    try:
        traces = await tasks.traces_of([lease.task_id for lease in leases])
    except TaskSchedulerError as error:
        log.warning("the traces of %d tasks are not known: %s", len(leases), error)
        return leases
    if not traces:
        return leases
    return [lease._replace(trace=traces.get(lease.task_id)) for lease in leases]


def runner_by(tracing: Tracing | None) -> Callable[..., AttemptRunner]:
    """Return what makes the runner of attempts: one that traces, if anybody does."""
    return AttemptRunner if tracing is None else partial(TracedAttemptRunner, tracing)


class TracedAttemptRunner(AttemptRunner):
    """Runs each attempt within a span."""

    def __init__(self, tracing: Tracing, *arguments: Any, **options: Any) -> None:
        """Tell ``tracing``; the rest is as for ``AttemptRunner``."""
        super().__init__(*arguments, **options)
        self._tracing = tracing

    async def run(self, lease: Lease, context: Context) -> Settlement | None:
        """Run the attempt to its end, as ``AttemptRunner.run`` does."""
        with self._tracing.processing(lease) as span:
            try:
                settlement = await super().run(lease, context)
            except (asyncio.CancelledError, GeneratorExit):
                span.ended(STOPPED, None, failed=True)
                raise
            if settlement is not None:
                failed = settlement.event in {Event.RETRY, Event.FAIL}
                span.ended(settlement.event.value, settlement.error, failed=failed)
            elif context.settled:
                span.ended(Event.COMPLETE.value, None, failed=False)
            else:
                span.ended(LOST, None, failed=True)
        return settlement
