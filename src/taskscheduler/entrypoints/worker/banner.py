"""What a worker says of itself when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.application.distribution import release
from taskscheduler.domain.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.entrypoints.settings import WorkerSettings
    from taskscheduler.settings import StoreSettings


def banner(settings: WorkerSettings, handlers: Handlers, store: StoreSettings) -> str:
    """Return one line: what it runs, where from, how much of it, and of which release it is."""
    return (
        f"taskscheduler {release()} worker: app {settings.app or 'none'}, "
        f"kinds {_listed(handlers)}, queues {_listed(settings.queues)}, "
        f"concurrency {settings.concurrency}, lease {settings.lease.total_seconds():g} s, "
        f"database {redacted(store.url)}, schema {store.schema}"
    )


def _listed(names: Iterable[str]) -> str:
    return " ".join(sorted(names)) or "none"
