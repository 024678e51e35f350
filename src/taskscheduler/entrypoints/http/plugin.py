"""taskscheduler in somebody else's Litestar application: a plugin."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.plugins import CLIPlugin, InitPlugin

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.worker.worker import Worker
from taskscheduler.entrypoints.http.routes.dashboard import page_router
from taskscheduler.entrypoints.http.routes.events import event_router
from taskscheduler.entrypoints.http.routes.limits import limit_router
from taskscheduler.entrypoints.http.routes.queues import operating_router
from taskscheduler.entrypoints.http.routes.schedules import schedule_router
from taskscheduler.entrypoints.http.routes.tasks import task_router

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from click import Command, Group
    from litestar.config.app import AppConfig

    from taskscheduler.application.worker.handlers import Handlers


def command() -> Command:
    """Return our command line as one command of another, to which all that follows goes."""

    @click.command(
        "tasks",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def tasks(arguments: tuple[str, ...]) -> None:
        """Everything that ``taskscheduler`` does: ``worker``, ``migrate``, ``tasks list``."""
        from taskscheduler.entrypoints.cli import main  # noqa: PLC0415 - who serves needs it not

        sys.argv = [sys.argv[0], *arguments]
        main()

    return tasks


class TaskSchedulerPlugin(InitPlugin, CLIPlugin):
    """Keeps ``scheduler`` open while the application serves, and injects it as ``scheduler``.

    With ``handlers`` a worker runs within the application's process, and ends before the scheduler
    is closed. With ``path`` the calls under ``/tasks`` are mounted there; with ``dashboard`` all
    calls are, and the dashboard at ``path`` itself, to be opened with a slash at its end. Who may
    reach them is the application's business: give ``guards``. ``litestar tasks`` is our command
    line.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        handlers: Handlers | None = None,
        path: str | None = None,
        dashboard: bool = False,
        guards: Sequence[Any] = (),
        dependency: str = "scheduler",
    ) -> None:
        """Open nothing yet; ``dependency`` is the name that route handlers ask for it by."""
        self.scheduler = scheduler
        self._handlers = handlers
        self._path = path
        self._dashboard = dashboard
        self._guards = list(guards)
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
            routers = [task_router(self.scheduler)]
            if self._dashboard:
                routers += [
                    schedule_router(self.scheduler),
                    operating_router(self.scheduler),
                    limit_router(self.scheduler),
                    event_router(self.scheduler),
                    page_router(),
                ]
            routes = Router(path=self._path, route_handlers=routers, guards=self._guards)
            app_config.route_handlers = [*app_config.route_handlers, routes]
        return app_config

    def on_cli_init(self, cli: Group) -> None:
        """Add our command line as ``tasks``. Litestar calls it."""
        cli.add_command(command())

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
