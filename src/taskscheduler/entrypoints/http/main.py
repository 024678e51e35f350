"""The REST service as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.entrypoints.http.access_mode import SAID, access_mode
from taskscheduler.entrypoints.http.server import address_of, bind, serve
from taskscheduler.entrypoints.loop import run
from taskscheduler.entrypoints.process_container import ProcessContainer
from taskscheduler.entrypoints.signals import on_signals

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.domain.ports.tracing import Tracing
    from taskscheduler.entrypoints.settings import AccessMode, ApiSettings
    from taskscheduler.settings import StoreSettings


def run_api(
    store: StoreSettings,
    settings: ApiSettings,
    handlers: Handlers,
    say: Callable[[str], None],
    tracing: Tracing | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. The kinds of ``handlers`` are made known at the start."""
    with bind(settings.host, settings.port) as listening:
        mode = access_mode(settings, listening)
        container = ProcessContainer(
            settings=store,
            handlers=handlers,
            api_settings=settings,
            socket=listening,
            tracing=tracing,
        )
        run(_serve(container, mode, listening, say))


async def _serve(
    container: ProcessContainer,
    mode: AccessMode,
    listening: socket.socket,
    say: Callable[[str], None],
) -> None:
    async with container.scheduler():
        server = container.server()
        on_signals(server.stop)
        say(f"taskscheduler is at {address_of(listening)}")
        say(f"  access  {SAID[mode]}")
        await serve(server, listening)
