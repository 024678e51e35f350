"""What runs in one process beside its store: what its metrics and ``/readyz`` tell of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskscheduler.application.metrics.attempt_stats import AttemptStats
    from taskscheduler.application.worker.worker import Worker
    from taskscheduler.domain.ports.wakeups import Listener
    from taskscheduler.entrypoints.request_metrics import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A worker, what it counted, and what the REST service counted; each if it is there."""

    worker: Worker | None = None
    stats: AttemptStats | None = None
    requests: Requests | None = None

    @property
    def listener(self) -> Listener | None:
        """What hears wake-ups here; None where no worker runs, or none does yet."""
        return None if self.worker is None else self.worker.listener
