"""Everything in one process: an embedded PostgreSQL, the REST service and a worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from taskscheduler.container import embedded_postgres, migrate_schema
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.http.access_mode import SAID, access_mode
from taskscheduler.entrypoints.http.server import address_of, bind, serve
from taskscheduler.entrypoints.loop import run
from taskscheduler.entrypoints.process_container import ProcessContainer
from taskscheduler.entrypoints.settings import URL_FILE
from taskscheduler.entrypoints.signals import on_signals
from taskscheduler.settings import StoreSettings

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
            container = ProcessContainer(
                settings=StoreSettings(url=database.url, schema=settings.schema),
                handlers=handlers,
                api_settings=settings.api,
                worker_settings=settings.worker,
                socket=listening,
                tracing=tracing,
            )
            url_file = settings.data / URL_FILE
            url_file.write_text(database.url + "\n", "utf-8")
            try:
                run(_run(container, mode, listening, say))
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
    container: ProcessContainer,
    mode: AccessMode,
    listening: socket.socket,
    say: Callable[[str], None],
) -> None:
    store = container.settings()
    await migrate_schema(store.url, store.schema)
    async with container.scheduler():
        worker, server = container.worker(), container.server()

        def stop() -> None:
            server.stop()
            worker.stop()

        on_signals(stop)
        address = address_of(listening)
        say(f"taskscheduler is at {address}")
        say(f"  dashboard          {address}/")
        say(f"  API documentation  {address}/schema")
        say(f"  access             {SAID[mode]}")
        say(f"  database           {store.url}")
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(server, listening))
            group.create_task(worker.run())
