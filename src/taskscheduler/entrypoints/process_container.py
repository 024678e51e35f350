"""The composition root of ``dev``, ``api`` and ``worker``, which only open it and serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dependency_injector import providers

from taskscheduler.application.worker.handlers import Handlers
from taskscheduler.container import Container
from taskscheduler.entrypoints.process import Process
from taskscheduler.entrypoints.request_metrics import Requests
from taskscheduler.entrypoints.worker.build import build_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from litestar import Litestar

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.metrics.attempt_stats import AttemptStats
    from taskscheduler.application.store import Store
    from taskscheduler.application.worker.worker import Worker
    from taskscheduler.entrypoints.http.server import Server
    from taskscheduler.entrypoints.metrics import Metrics
    from taskscheduler.entrypoints.settings import ApiSettings, WorkerSettings

# What only some of the commands need is imported when it is built.
# ruff: noqa: PLC0415


def _stats(
    handlers: Handlers, works: WorkerSettings | None, serves: ApiSettings | None
) -> AttemptStats | None:
    """Return what counts the worker's attempts; None where they are shown nowhere."""
    if works is None or (works.metrics_port is None and serves is None):
        return None
    from taskscheduler.application.metrics.attempt_stats import AttemptStats

    return AttemptStats(handlers)


def _process(
    works: WorkerSettings | None,
    serves: ApiSettings | None,
    worker: Callable[[], Worker],
    stats: AttemptStats | None,
    requests: Requests,
) -> Process:
    return Process(
        worker=None if works is None else worker(),
        stats=stats,
        requests=None if serves is None else requests,
    )


def _metrics(store: Store, process: Process) -> Metrics:
    from taskscheduler.entrypoints.metrics import Metrics

    return Metrics(store, process)


def _app(
    scheduler: Scheduler,
    handlers: Handlers,
    settings: ApiSettings,
    listening: socket.socket,
    process: Process,
) -> Litestar:
    from taskscheduler.entrypoints.http.build import build_app

    return build_app(scheduler, handlers.attempts_by_kind, settings, listening, process)


def _server(app: Litestar, settings: ApiSettings, requests: Requests) -> Server:
    from taskscheduler.entrypoints.http.build import build_api_server

    return build_api_server(app, settings, requests)


class ProcessContainer(Container):
    """One process on the store of ``Container``: the REST service, a worker, or both.

    Hand in ``settings`` and ``handlers``; ``api_settings`` and ``socket``, where it is to listen,
    if it serves; ``worker_settings`` if it works. Override any provider in tests.
    """

    handlers: providers.Dependency[Handlers] = providers.Dependency(instance_of=Handlers)
    api_settings: providers.Provider[ApiSettings | None] = providers.Object(None)
    socket: providers.Provider[socket.socket | None] = providers.Object(None)
    worker_settings: providers.Provider[WorkerSettings | None] = providers.Object(None)

    stats: providers.Provider[AttemptStats | None] = providers.Singleton(
        _stats, handlers, worker_settings, api_settings
    )
    worker: providers.Provider[Worker] = providers.Singleton(
        build_worker, Container.scheduler, handlers, worker_settings, stats
    )
    requests: providers.Provider[Requests] = providers.Singleton(Requests)
    process: providers.Provider[Process] = providers.Singleton(
        _process, worker_settings, api_settings, worker.provider, stats, requests
    )
    metrics: providers.Provider[Metrics] = providers.Singleton(_metrics, Container.store, process)
    app: providers.Provider[Litestar] = providers.Singleton(
        _app, Container.scheduler, handlers, api_settings, socket, process
    )
    server: providers.Provider[Server] = providers.Singleton(_server, app, api_settings, requests)
