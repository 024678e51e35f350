"""What an operator may set. ``cli`` fills these in; nothing else reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from taskscheduler.application.scheduler import Scheduler

BODY_BYTES_MAX_DEFAULT: Final = 16 * 1024 * 1024
BAR_URL_DEFAULT: Final = "https://www.whattimeisitrightnow.com/"
URL_FILE: Final = "database-url"
"""Where a running ``dev`` says, within its folder, under which URL its database is reached."""


class LogFormat(StrEnum):
    """How a line of the log looks."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """From which severity on lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where the tasks are. ``listen_url`` leads past a pooler, if ``url`` leads through one."""

    url: str
    schema: str
    listen_url: str | None
    pool_size: int
    unique_for: timedelta

    def scheduler(self) -> Scheduler:
        """Return a scheduler on this store, not yet open."""
        from taskscheduler.container import Container  # noqa: PLC0415 - --help stays quick

        return Container(
            database_url=self.url,
            listen_url=self.listen_url or self.url,
            schema=self.schema,
            pool_size=self.pool_size,
            unique_for=self.unique_for,
        ).scheduler()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How the REST service serves."""

    host: str
    port: int
    accept_unknown_kinds: bool
    body_bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTargetSettings:
    """How tasks of the kind ``http`` are run. ``allow`` opens addresses that are closed."""

    enabled: bool = True
    allow: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker works. ``app`` names the user's handlers, as ``module:attribute``."""

    app: str | None
    queues: tuple[str, ...]
    concurrency: int
    lease: timedelta
    poll_interval: timedelta
    shutdown_timeout: timedelta
    drain: bool
    bar_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DevSettings:
    """What ``dev`` runs: everything, on data in one folder."""

    data: Path
    schema: str
    api: ApiSettings
    worker: WorkerSettings
