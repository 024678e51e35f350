"""Everything in one process: an embedded PostgreSQL, the REST service and a worker."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from taskscheduler.application.metrics.attempt_stats import AttemptStats
from taskscheduler.container import Container, embedded_postgres, migrate_schema
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.http.access_mode import SAID, access_mode, access_of, hosts_of
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.hosts import Proxies
from taskscheduler.entrypoints.http.middleware.request_limits import ServerLimits
from taskscheduler.entrypoints.http.routes.events import end_streams
from taskscheduler.entrypoints.http.routes.tasks import TaskRules
from taskscheduler.entrypoints.http.server import address_of, bind, build_server, serve
from taskscheduler.entrypoints.loop import run
from taskscheduler.entrypoints.metrics import Metrics
from taskscheduler.entrypoints.request_metrics import Requests
from taskscheduler.entrypoints.settings import URL_FILE
from taskscheduler.entrypoints.signals import on_signals
from taskscheduler.entrypoints.worker.main import build_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.domain.ports.tracing import Tracing
    from taskscheduler.entrypoints.settings import AccessMode, DevSettings


def run_dev(
    settings: DevSettings,
    handlers: Handlers,
    say: Callable[[str], None],
    tracing: Tracing | None = None,
) -> None:
    """Run until SIGTERM or SIGINT. What is stored stays in ``settings.data`` for the next time."""
    with bind(settings.api.host, settings.api.port) as listening:
        mode = access_mode(settings.api, listening)
        make_folder(settings.data)
        with embedded_postgres(settings.data / "postgres") as database:
            url_file = settings.data / URL_FILE
            url_file.write_text(database.url + "\n", "utf-8")
            try:
                run(_run(settings, mode, handlers, database.url, listening, say, tracing))
            finally:
                url_file.unlink(missing_ok=True)


def make_folder(data: Path) -> None:
    """Make the folder ``data`` unless it is there. Raises InvalidConfiguration."""
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--data: cannot make the folder {data}: {error.strerror}"
        raise InvalidConfiguration(message) from None


async def _run(
    settings: DevSettings,
    mode: AccessMode,
    handlers: Handlers,
    url: str,
    listening: socket.socket,
    say: Callable[[str], None],
    tracing: Tracing | None,
) -> None:
    await migrate_schema(url, settings.schema)
    tally = AttemptStats(handlers)
    scheduler = Container(database_url=url, schema=settings.schema, tracing=tracing).scheduler()
    async with scheduler:
        worker = build_worker(scheduler, handlers, settings.worker, tally)
        metrics = Metrics(scheduler.store)
        metrics.worker, metrics.tally = worker, tally
        requests = Requests()
        app = create_app(
            scheduler,
            kinds=handlers.attempts_by_kind,
            rules=TaskRules(accept_unknown_kinds=settings.api.accept_unknown_kinds),
            body_bytes_max=settings.api.body_bytes_max,
            open_scheduler=False,
            access=access_of(mode, settings.api, scheduler),
            cors_origins=settings.api.cors_origins,
            access_log=settings.api.access_log,
            shown=metrics,
            hosts=hosts_of(mode, settings.api, listening),
            proxies=Proxies.of(settings.api.trusted_proxies),
            requests=requests,
        )
        server = build_server(
            app,
            on_stop=partial(end_streams, app),
            limits=ServerLimits.of(settings.api.connections_max, settings.api.body_bytes_max),
            requests=requests,
        )

        def stop() -> None:
            server.stop()
            worker.stop()

        on_signals(stop)
        address = address_of(listening)
        say(f"taskscheduler is at {address}")
        say(f"  dashboard          {address}/")
        say(f"  API documentation  {address}/schema")
        say(f"  access             {SAID[mode]}")
        say(f"  database           {url}")
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(server, listening))
            group.create_task(worker.run())
