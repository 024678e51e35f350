"""The library: a scheduler that finds its own store."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, ParamSpec, Self

from taskscheduler.application.client.scheduler import Scheduler as StoreScheduler
from taskscheduler.application.client.sync import BlockingScheduler
from taskscheduler.domain.values import UNIQUE_FOR_DEFAULT
from taskscheduler.settings import WAKEUPS_DEFAULT, StoreSettings

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
    def postgres(
        cls,
        url: str,
        *,
        schema: str = "taskscheduler",
        listen_url: str | None = None,
        pool_size: int = 10,
        unique_for: timedelta | None = None,
        wakeups: str = WAKEUPS_DEFAULT,
        tracing: bool = False,
    ) -> Self:
        """Return a scheduler on PostgreSQL; nothing is connected before ``async with``.

        ``url`` is anything that libpq takes. ``schema`` must have been made by
        ``taskscheduler migrate``. ``listen_url`` is a way past the pooler, if ``url`` leads through
        one: wake-ups need it, or else workers find work by polling. ``unique_for`` is how long
        unique keys live (one day). ``wakeups`` is the URL of the way by which workers are told of
        new work: ``postgres:``, ``amqp://…``, ``amqps://…``, ``sqs+https://…`` or ``poll:``. With
        ``tracing``, spans go to the program's own provider of OpenTelemetry, and a task belongs to
        the trace within which it is stored.

        Raises:
            InvalidConfiguration: a value makes no sense, or an extra is not installed.
        """
        from taskscheduler.container import Container, engine_by  # noqa: PLC0415 - see above

        settings = StoreSettings(
            url=url,
            schema=schema,
            listen_url=listen_url,
            pool_size=pool_size,
            unique_for=UNIQUE_FOR_DEFAULT if unique_for is None else unique_for,
            wakeups=wakeups,
        )
        store = Container(settings=settings).store()
        return cls(store, _global_tracing() if tracing else None, engines=engine_by)

    @classmethod
    def in_memory(cls, *, tracing: bool = False) -> Self:
        """Return a scheduler whose tasks live in this process's memory and end with it.

        ``tracing`` is as for ``postgres``.
        """
        from taskscheduler.container import MemoryContainer, engine_by  # noqa: PLC0415 - see above

        store = MemoryContainer().store()
        return cls(store, _global_tracing() if tracing else None, engines=engine_by)


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
