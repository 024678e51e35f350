"""The shape of a worker."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from taskscheduler.domain.worker import WorkerLoad
from taskscheduler.entrypoints.messages.queues import CountMessage


class WorkerMessage(Struct, kw_only=True):
    """A worker. One that is not ``alive`` has been silent for longer than its lease.

    ``abandoned`` counts threads of it that run on though their attempts have ended.
    """

    id: int
    name: str
    host: str | None
    pid: int | None
    queues: list[str]
    kinds: list[str]
    concurrency: int
    running: CountMessage
    alive: bool
    started_at: datetime
    seen_at: datetime
    lease_s: float
    abandoned: int

    @classmethod
    def of(cls, load: WorkerLoad) -> WorkerMessage:
        """Return a worker as it is sent."""
        worker = load.worker
        return cls(
            id=worker.id,
            name=worker.name,
            host=worker.host,
            pid=worker.pid,
            queues=sorted(worker.queues),
            kinds=sorted(worker.kinds),
            concurrency=worker.concurrency,
            running=CountMessage.of(load.running),
            alive=not worker.expired,
            started_at=worker.started_at,
            seen_at=worker.seen_at,
            lease_s=worker.lease.total_seconds(),
            abandoned=worker.abandoned,
        )
