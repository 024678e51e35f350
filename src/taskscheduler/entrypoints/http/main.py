"""The REST service as a process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from taskscheduler.entrypoints.http.access_mode import SAID, access_mode, access_of, hosts_of
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.hosts import Proxies
from taskscheduler.entrypoints.http.middleware.request_limits import ServerLimits
from taskscheduler.entrypoints.http.routes.events import end_streams
from taskscheduler.entrypoints.http.routes.tasks import TaskRules
from taskscheduler.entrypoints.http.server import address_of, bind, build_server, serve
from taskscheduler.entrypoints.loop import run
from taskscheduler.entrypoints.request_metrics import Requests
from taskscheduler.entrypoints.signals import on_signals

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.ports.tracing import Tracing
    from taskscheduler.entrypoints.settings import AccessMode, ApiSettings, StoreSettings


def run_api(
    store: StoreSettings,
    settings: ApiSettings,
    kinds: Mapping[str, int],
    say: Callable[[str], None],
    tracing: Tracing | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. ``kinds`` are made known at the start."""
    with bind(settings.host, settings.port) as listening:
        mode = access_mode(settings, listening)
        run(_serve(store.scheduler(tracing), settings, mode, kinds, listening, say))


async def _serve(
    scheduler: Scheduler,
    settings: ApiSettings,
    mode: AccessMode,
    kinds: Mapping[str, int],
    listening: socket.socket,
    say: Callable[[str], None],
) -> None:
    async with scheduler:
        requests = Requests()
        app = create_app(
            scheduler,
            kinds=kinds,
            rules=TaskRules(accept_unknown_kinds=settings.accept_unknown_kinds),
            body_bytes_max=settings.body_bytes_max,
            open_scheduler=False,
            access=access_of(mode, settings, scheduler),
            cors_origins=settings.cors_origins,
            access_log=settings.access_log,
            hosts=hosts_of(mode, settings, listening),
            proxies=Proxies.of(settings.trusted_proxies),
            requests=requests,
        )
        server = build_server(
            app,
            on_stop=partial(end_streams, app),
            limits=ServerLimits.of(settings.connections_max, settings.body_bytes_max),
            requests=requests,
        )
        on_signals(server.stop)
        say(f"taskscheduler is at {address_of(listening)}")
        say(f"  access  {SAID[mode]}")
        await serve(server, listening)
