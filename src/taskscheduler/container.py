"""The composition root: the one place where adapters are chosen.

Everything is constructed synchronously here and opened later by ``Scheduler`` in one ordered
context manager, so neither wiring nor asynchronous resources of dependency-injector are needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dependency_injector import containers, providers

from taskscheduler.adapters.memory.store import memory_store as build_memory_store
from taskscheduler.adapters.polling import PollingWakeUps
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.doctor import examine
from taskscheduler.adapters.postgres.migrate import check as pending_migrations
from taskscheduler.adapters.postgres.migrate import migrate as migrate_schema
from taskscheduler.adapters.postgres.migrate import script as schema_script
from taskscheduler.adapters.postgres.rights import Roles, grants_script
from taskscheduler.adapters.postgres.rights import grant as grant_rights
from taskscheduler.adapters.postgres.store import postgres_store as build_postgres_store
from taskscheduler.adapters.postgres.store import reach
from taskscheduler.adapters.postgres.wakeups import channel_of
from taskscheduler.adapters.system import SystemClock, new_task_id
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.distribution import install, release
from taskscheduler.application.http_target.handler import http_handlers
from taskscheduler.application.http_target.signing import Signer
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.settings import WAKEUPS_FORMS, StoreSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from taskscheduler.adapters.embedded import EmbeddedPostgres
    from taskscheduler.application.store import Store
    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.domain.ports.engines import Engine
    from taskscheduler.domain.ports.tracing import Tracing
    from taskscheduler.domain.ports.wakeups import WakeUps


WORD: Final = re.compile(r"[a-z+]{1,16}")


def wakeups_by(url: str, *, schema: str) -> WakeUps | None:
    """Return the wake-ups that ``url`` names, or None for PostgreSQL's own.

    ``postgres:`` and ``poll:`` need no more than that, ``amqp://…`` and ``amqps://…`` is the broker
    itself, and ``sqs+https://…`` the URL of a queue after the plus.

    Raises:
        InvalidConfiguration: it names no way, or the extra of that way is not installed.
    """
    scheme, _, rest = url.partition(":")
    if url == "postgres:":
        return None
    if url == "poll:":
        return PollingWakeUps()
    try:
        if scheme in {"amqp", "amqps"} and rest.startswith("//"):
            from taskscheduler.adapters.rabbitmq import RabbitWakeUps  # noqa: PLC0415 - an extra

            return RabbitWakeUps(url, exchange=channel_of(schema))
        if scheme in {"sqs+https", "sqs+http"} and rest.startswith("//"):
            from taskscheduler.adapters.sqs import SqsWakeUps  # noqa: PLC0415 - an extra

            return SqsWakeUps(url.removeprefix("sqs+"))
    except ModuleNotFoundError as error:
        extra = "rabbitmq" if scheme.startswith("amqp") else "sqs"
        message = f"wake-ups by {scheme}: need: {install(extra)}"
        raise InvalidConfiguration(message) from error
    # What comes after the scheme may be a password.
    said = repr(scheme) if WORD.fullmatch(scheme) else "that"
    message = f"wake-ups by {said}: expected the URL {WAKEUPS_FORMS}"
    raise InvalidConfiguration(message)


def engine_by(runs_in: str) -> Engine:
    """Return what runs the handlers that are registered with ``runs_in``, but for our own threads.

    Raises:
        InvalidConfiguration: its extra is not installed, or its own configuration is missing.
    """
    extra = {"process": "processes"}.get(runs_in, runs_in)
    try:
        if runs_in == "dask":
            from taskscheduler.adapters.dask import DaskEngine  # noqa: PLC0415 - an extra

            return DaskEngine()
        from taskscheduler.adapters.processes import ProcessEngine  # noqa: PLC0415 - an extra

        return ProcessEngine()
    except ModuleNotFoundError as error:
        message = f"runs_in={runs_in!r} needs: {install(extra)}"
        raise InvalidConfiguration(message) from error


NO_OTEL: Final = f"tracing needs: {install('otel')}"


class Container(containers.DeclarativeContainer):
    """A PostgreSQL deployment. Hand in ``settings``; override any provider in tests."""

    settings: providers.Dependency[StoreSettings] = providers.Dependency(instance_of=StoreSettings)
    clock: providers.Provider[SystemClock] = providers.Singleton(SystemClock)
    database: providers.Provider[Database] = providers.Singleton(
        Database,
        settings.provided.url,
        schema=settings.provided.schema,
        pool_size=settings.provided.pool_size,
    )
    listening: providers.Provider[Database] = providers.Singleton(
        Database,
        settings.provided.url_for_listening,
        schema=settings.provided.schema,
        pool_size=1,
    )
    wakeups: providers.Provider[WakeUps | None] = providers.Singleton(
        wakeups_by, settings.provided.wakeups, schema=settings.provided.schema
    )
    store: providers.Provider[Store] = providers.Singleton(
        build_postgres_store,
        database,
        clock,
        providers.Object(new_task_id),
        listening=listening,
        unique_for=settings.provided.unique_for,
        wakeups=wakeups,
    )
    tracing: providers.Provider[Tracing | None] = providers.Object(None)
    scheduler: providers.Provider[Scheduler] = providers.Singleton(
        Scheduler, store, tracing=tracing, engines=providers.Object(engine_by)
    )


class MemoryContainer(containers.DeclarativeContainer):
    """Everything in this process's memory."""

    clock: providers.Provider[SystemClock] = providers.Singleton(SystemClock)
    store: providers.Provider[Store] = providers.Singleton(
        build_memory_store, clock, providers.Object(new_task_id)
    )
    tracing: providers.Provider[Tracing | None] = providers.Object(None)
    scheduler: providers.Provider[Scheduler] = providers.Singleton(
        Scheduler, store, tracing=tracing, engines=providers.Object(engine_by)
    )


def global_tracing() -> Tracing:
    """Return what traces by the program's own provider, the global one of OpenTelemetry.

    Raises:
        InvalidConfiguration: the extra ``otel`` is not installed.
    """
    try:
        from taskscheduler.adapters.otel.tracing import OtelTracing  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise InvalidConfiguration(NO_OTEL) from error
    return OtelTracing()


def otlp_tracing(service: str) -> Tracing:
    """Return what traces by OTLP over HTTP, as the variables ``OTEL_…`` say.

    ``service`` is what the process is called unless they name it. Where the program has a global
    provider of OpenTelemetry by now, that is used, and none made.

    Raises:
        InvalidConfiguration: the extra ``otel`` is not installed, or a variable makes no sense.
    """
    try:
        from taskscheduler.adapters.otel.exporting import exported  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise InvalidConfiguration(NO_OTEL) from error
    return exported(service)


def http_target_handlers(*, allow: Sequence[str] = (), secrets: Sequence[str] = ()) -> Handlers:
    """Return the handler of the kind ``http``, which calls targets; include it among your own.

    ``allow`` are addresses, networks, host names and ``*.domain`` that may be called though they
    are not public. ``secrets`` sign the calls: ``whsec_`` and base64, all at once.

    Raises:
        InvalidConfiguration: an entry or a secret is malformed.
    """
    # Only workers need a client.
    from taskscheduler.adapters.web.addresses import Opened  # noqa: PLC0415
    from taskscheduler.adapters.web.calling import WebCaller  # noqa: PLC0415
    from taskscheduler.adapters.web.dialing import CheckedDialer  # noqa: PLC0415

    caller = WebCaller(CheckedDialer(Opened.of(allow)))
    return http_handlers(caller, Signer(secrets), version=release())


def embedded_postgres(data: Path) -> AbstractContextManager[EmbeddedPostgres]:
    """Return an embedded PostgreSQL whose data lives in ``data``; entering it starts it.

    Raises:
        InvalidConfiguration: the extra ``embedded`` is not installed.
    """
    from taskscheduler.adapters.embedded import EmbeddedPostgres  # noqa: PLC0415 - an extra

    return EmbeddedPostgres(data)


__all__ = [
    "Container",
    "MemoryContainer",
    "Roles",
    "embedded_postgres",
    "examine",
    "global_tracing",
    "grant_rights",
    "grants_script",
    "http_target_handlers",
    "migrate_schema",
    "otlp_tracing",
    "pending_migrations",
    "reach",
    "schema_script",
]
