"""taskscheduler in somebody else's Litestar application: a plugin."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.plugins import InitPlugin

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.worker.worker import Worker
from taskscheduler.entrypoints.http.routes.tasks import task_router

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from litestar.config.app import AppConfig

    from taskscheduler.application.worker.handlers import Handlers


class TaskSchedulerPlugin(InitPlugin):
    """Keeps ``scheduler`` open while the application serves, and injects it as ``scheduler``.

    With ``handlers`` a worker runs within the application's process, and ends before the scheduler
    is closed. With ``path`` the calls under ``/tasks`` are mounted there.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        handlers: Handlers | None = None,
        path: str | None = None,
        dependency: str = "scheduler",
    ) -> None:
        """Open nothing yet; ``dependency`` is the name that route handlers ask for it by."""
        self.scheduler = scheduler
        self._handlers = handlers
        self._path = path
        self._dependency = dependency

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add what the plugin brings. Litestar calls it."""
        provided = Provide(lambda: self.scheduler, sync_to_thread=False)
        app_config.dependencies = {**app_config.dependencies, self._dependency: provided}
        app_config.signature_namespace = {
            "Scheduler": Scheduler,
            **app_config.signature_namespace,
        }
        # First in, last out: what the application closes itself may still store tasks.
        app_config.lifespan = [self._lifespan, *app_config.lifespan]
        if self._path is not None:
            routes = Router(path=self._path, route_handlers=[task_router(self.scheduler)])
            app_config.route_handlers = [*app_config.route_handlers, routes]
        return app_config

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncGenerator[None]:
        async with self.scheduler:
            if self._handlers is None:
                yield
                return
            worker = Worker(self.scheduler, self._handlers)
            running = asyncio.create_task(worker.run())
            try:
                yield
            finally:
                worker.stop()
                await running
