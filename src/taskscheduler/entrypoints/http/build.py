"""The REST service and its server from their settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from taskscheduler.entrypoints.http.access_mode import access_mode, access_of, hosts_of
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.hosts import Proxies
from taskscheduler.entrypoints.http.middleware.request_limits import ServerLimits
from taskscheduler.entrypoints.http.routes.events import end_streams
from taskscheduler.entrypoints.http.routes.tasks import TaskRules
from taskscheduler.entrypoints.http.server import build_server

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from litestar import Litestar

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.entrypoints.http.server import Server
    from taskscheduler.entrypoints.process import Process
    from taskscheduler.entrypoints.request_metrics import Requests
    from taskscheduler.entrypoints.settings import ApiSettings


def build_app(
    scheduler: Scheduler,
    kinds: Mapping[str, int],
    settings: ApiSettings,
    listening: socket.socket,
    process: Process,
) -> Litestar:
    """Return the service that ``settings`` describe, for the address of ``listening``.

    Whoever serves it keeps ``scheduler`` open.

    Raises:
        InvalidConfiguration: it would be open where others reach it, or options contradict.
    """
    mode = access_mode(settings, listening)
    return create_app(
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
        process=process,
    )


def build_api_server(app: Litestar, settings: ApiSettings, requests: Requests) -> Server:
    """Return the server for ``app``, within the limits that ``settings`` set."""
    return build_server(
        app,
        on_stop=partial(end_streams, app),
        limits=ServerLimits.of(settings.connections_max, settings.body_bytes_max),
        requests=requests,
    )
