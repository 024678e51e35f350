"""The library: a scheduler that finds its own store."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self

from taskscheduler.application.client.scheduler import Scheduler as StoreScheduler
from taskscheduler.application.client.sync import BlockingScheduler

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from taskscheduler.domain.ports.tracing import Tracing


Parameters = ParamSpec("Parameters")


class Scheduler(StoreScheduler):
    """Stores tasks and looks after them; see ``taskscheduler.application.client.scheduler``.

    The adapters are imported when a store is chosen, so that importing this package stays cheap.
    """

    @classmethod
    def postgres(  # noqa: PLR0913 - each is a setting of its own
        cls,
        url: str,
        *,
        schema: str = "taskscheduler",
        listen_url: str | None = None,
        pool_size: int = 10,
        unique_for: timedelta | None = None,
        wakeups: Literal["postgres", "rabbitmq", "sqs", "poll"] = "postgres",
        rabbitmq_url: str = "",
        sqs_queue_url: str = "",
        sqs_endpoint_url: str = "",
        tracing: bool = False,
    ) -> Self:
        """Return a scheduler on PostgreSQL; nothing is connected before ``async with``.

        ``url`` is anything that libpq takes. ``schema`` must have been made by
        ``taskscheduler migrate``. ``listen_url`` is a way past the pooler, if ``url`` leads through
        one: wake-ups need it, or else workers find work by polling. ``unique_for`` is how long
        unique keys live (one day). ``wakeups`` is how workers are told of new work; the URLs are
        for those ways that need one. With ``tracing``, spans go to the program's own provider of
        OpenTelemetry, and a task belongs to the trace within which it is stored.

        Raises:
            InvalidConfiguration: a value makes no sense, or an extra is not installed.
        """
        from taskscheduler.container import Container  # noqa: PLC0415 - see above

        chosen: dict[str, Any] = {
            "database_url": url,
            "schema": schema,
            "pool_size": pool_size,
            "wakeups_by": wakeups,
            "rabbitmq_url": rabbitmq_url,
            "sqs_queue_url": sqs_queue_url,
            "sqs_endpoint_url": sqs_endpoint_url,
        }
        if listen_url is not None:
            chosen["listen_url"] = listen_url
        if unique_for is not None:
            chosen["unique_for"] = unique_for
        return cls(Container(**chosen).store(), _global_tracing() if tracing else None)

    @classmethod
    def in_memory(cls, *, tracing: bool = False) -> Self:
        """Return a scheduler whose tasks live in this process's memory and end with it.

        ``tracing`` is as for ``postgres``.
        """
        from taskscheduler.container import MemoryContainer  # noqa: PLC0415 - see above

        return cls(MemoryContainer().store(), _global_tracing() if tracing else None)


def _blocking(
    make: Callable[Parameters, StoreScheduler],
) -> Callable[Parameters, SyncScheduler]:
    """Return what takes the same as ``make`` and returns a scheduler that blocks."""

    def made(*arguments: Parameters.args, **options: Parameters.kwargs) -> SyncScheduler:
        return SyncScheduler(lambda: make(*arguments, **options))

    return update_wrapper(made, make)


class SyncScheduler(BlockingScheduler):
    """``Scheduler`` without ``await``; see ``taskscheduler.application.client.sync``.

    ``postgres`` and ``in_memory`` take what those of ``Scheduler`` take. Of what lives in memory
    each process has its own.
    """

    postgres = staticmethod(_blocking(Scheduler.postgres))
    in_memory = staticmethod(_blocking(Scheduler.in_memory))


def _global_tracing() -> Tracing:
    from taskscheduler.container import global_tracing  # noqa: PLC0415 - see above

    return global_tracing()
