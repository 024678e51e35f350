"""What a worker is at present: what its metrics tell, and whoever embeds it may look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskscheduler.application.worker.claimer import Claimer
    from taskscheduler.application.worker.completer import Completer
    from taskscheduler.application.worker.executor import Executor
    from taskscheduler.application.worker.registration import Registration
    from taskscheduler.application.worker.threads import Threads
    from taskscheduler.domain.ports.wakeups import Listener
    from taskscheduler.domain.values import WorkerId


class WorkerStatus:
    """Reads the parts that ``Worker`` is made of, and changes none."""

    _claimer: Claimer
    _completer: Completer
    _concurrency: int
    _executor: Executor
    _registration: Registration
    _threads: Threads
    listener: Listener | None = None
    """What it hears wake-ups with, once it runs."""

    @property
    def id(self) -> WorkerId | None:
        """The worker's id in the registry while it is joined."""
        return self._registration.worker_id

    @property
    def degraded(self) -> str | None:
        """Why wake-ups may be missed at present, or None."""
        return None if self.listener is None else self.listener.degraded

    @property
    def fenced(self) -> int:
        """How many outcomes came too late, because the lease had been lost."""
        return self._completer.fenced

    @property
    def refused(self) -> int:
        """How many outcomes the store refused for good, so that others were made of them."""
        return self._completer.refused

    @property
    def abandoned(self) -> int:
        """How many threads still run attempts that have ended without them."""
        return self._threads.abandoned

    @property
    def suspects(self) -> int:
        """How many due suspects the last look found; see ``Suspicion``."""
        found = self._claimer.suspects
        return 0 if found is None else found.number

    @property
    def runs_suspects(self) -> bool:
        """Whether it runs suspects at present, and so nothing else."""
        return self._claimer.runs_suspects

    @property
    def concurrency(self) -> int:
        """How many attempts may run at once."""
        return self._concurrency

    @property
    def busy(self) -> int:
        """How many attempts run at present."""
        return self._concurrency - self._executor.free

    @property
    def backlog(self) -> int:
        """How many outcomes the store does not have yet."""
        return self._completer.backlog
