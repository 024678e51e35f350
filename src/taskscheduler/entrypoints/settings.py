"""What an operator may set. ``cli`` fills these in; nothing else reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.notes import RESULT_BYTES_MAX
from taskscheduler.domain.retention import RetentionPolicy

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path


BODY_BYTES_MAX_DEFAULT: Final = 16 * 1024 * 1024
CONNECTIONS_DEFAULT: Final = 1_000
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


class TracingBy(StrEnum):
    """Where spans go."""

    OFF = "off"
    OTLP = "otlp"


class AccessMode(StrEnum):
    """Who may call the REST service."""

    OPEN = "open"
    KEYS = "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How the REST service serves, and whom.

    ``access`` None is open on a loopback address and keys on any other. ``insecure`` lets it be
    open there too. ``rate_limit`` is in calls a second, by key.
    """

    host: str
    port: int
    accept_unknown_kinds: bool
    body_bytes_max: int
    access: AccessMode | None = None
    insecure: bool = False
    rate_limit: float | None = None
    cors_origins: tuple[str, ...] = ()
    access_log: bool = True
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    connections_max: int = CONNECTIONS_DEFAULT


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
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    retention_export: Path | None = None
    retention_audit: timedelta | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    result_bytes_max: int = RESULT_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class DevSettings:
    """What ``dev`` runs: everything, on data in one folder."""

    data: Path
    schema: str
    api: ApiSettings
    worker: WorkerSettings
