"""The options that several commands share. Each has its twin in the environment."""

from __future__ import annotations

from datetime import timedelta
from math import isnan
from pathlib import Path
from typing import Annotated, Final

import typer

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.notes import RESULT_BYTES_LIMIT
from taskscheduler.entrypoints.settings import AccessMode, LogFormat, LogLevel, TracingBy
from taskscheduler.settings import WAKEUPS_FORMS

DATA_DEFAULT: Final = Path(".taskscheduler")
DAY_S: Final = 86_400
YEAR_S: Final = 366 * DAY_S

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar=["TASKSCHEDULER_DATABASE_URL", "DATABASE_URL"],
        help="The PostgreSQL database, in any form that libpq takes; by default that of a "
        "running `dev`.",
        show_default=False,
    ),
]
Schema = Annotated[
    str, typer.Option(envvar="TASKSCHEDULER_SCHEMA", help="The schema that holds the tables.")
]
ListenUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TASKSCHEDULER_LISTEN_URL",
        help="A direct connection for wake-ups, if the database URL leads through a pooler.",
        show_default=False,
    ),
]
PoolSize = Annotated[
    int,
    typer.Option(
        envvar="TASKSCHEDULER_POOL_SIZE", min=2, max=1000, help="The most pooled connections."
    ),
]
UniqueFor = Annotated[
    float,
    typer.Option(
        envvar="TASKSCHEDULER_UNIQUE_FOR",
        min=0.001,
        max=YEAR_S,
        help="How many seconds a unique key lives.",
    ),
]
WakeUps = Annotated[
    str,
    typer.Option(
        "--wakeups",
        envvar="TASKSCHEDULER_WAKEUPS",
        metavar="URL",
        help=f"How workers hear of new work: {WAKEUPS_FORMS}, with which they do not.",
    ),
]
Host = Annotated[str, typer.Option(envvar="TASKSCHEDULER_HOST", help="The address to listen on.")]
Port = Annotated[
    int,
    typer.Option(
        envvar="TASKSCHEDULER_PORT", min=0, max=65_535, help="The port to listen on; 0 for any."
    ),
]
AcceptUnknownKinds = Annotated[
    bool,
    typer.Option(
        "--accept-unknown-kinds",
        envvar="TASKSCHEDULER_ACCEPT_UNKNOWN_KINDS",
        help="Store tasks of kinds that no worker has registered yet.",
    ),
]
BodyBytesMax = Annotated[
    int,
    typer.Option(
        envvar="TASKSCHEDULER_BODY_BYTES_MAX", min=1024, help="The largest request body, in bytes."
    ),
]
Access = Annotated[
    AccessMode | None,
    typer.Option(
        envvar="TASKSCHEDULER_ACCESS",
        help="Who may call: all, or holders of keys. By default open on a loopback address, "
        "keys on any other.",
        show_default=False,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="TASKSCHEDULER_INSECURE",
        help="Allow --access open on an address that other machines reach.",
    ),
]
RateLimit = Annotated[
    str | None,
    typer.Option(
        envvar="TASKSCHEDULER_RATE_LIMIT",
        metavar="N/s",
        help="How many calls a second (N/s) or minute (N/m) one key may make of this process.",
        show_default=False,
    ),
]
CorsOrigins = Annotated[
    list[str],
    typer.Option(
        "--cors-origin",
        envvar="TASKSCHEDULER_CORS_ORIGIN",
        help="An origin whose pages may call; repeatable.",
        show_default=False,
    ),
]
AllowedHosts = Annotated[
    list[str],
    typer.Option(
        "--allowed-host",
        envvar="TASKSCHEDULER_ALLOWED_HOST",
        help="A name under which the service is called, such as tasks.example.org or "
        "*.example.org; * for any; repeatable.",
        show_default=False,
    ),
]
TrustedProxies = Annotated[
    list[str],
    typer.Option(
        "--trusted-proxy",
        envvar="TASKSCHEDULER_TRUSTED_PROXY",
        help="An address or a network whose X-Forwarded-For is believed; repeatable.",
        show_default=False,
    ),
]
ConnectionsMax = Annotated[
    int,
    typer.Option(
        envvar="TASKSCHEDULER_CONNECTIONS_MAX", min=1, help="The most connections of callers."
    ),
]
NoAccessLog = Annotated[
    bool,
    typer.Option(
        "--no-access-log",
        envvar="TASKSCHEDULER_NO_ACCESS_LOG",
        help="Log no line for each request.",
    ),
]
App = Annotated[
    str | None,
    typer.Option(
        envvar="TASKSCHEDULER_APP",
        help="Your handlers, as module:attribute. Foo, Bar, Baz and http are always there.",
        show_default=False,
    ),
]
Queues = Annotated[
    list[str], typer.Option("--queue", envvar="TASKSCHEDULER_QUEUE", help="A queue; repeatable.")
]
Concurrency = Annotated[
    int,
    typer.Option(
        envvar="TASKSCHEDULER_CONCURRENCY",
        min=1,
        max=10_000,
        help="How many handlers one process runs at once.",
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        envvar="TASKSCHEDULER_PROCESSES",
        min=1,
        max=256,
        help="How many processes to run, each with its own event loop.",
    ),
]
Drain = Annotated[
    bool,
    typer.Option("--drain", envvar="TASKSCHEDULER_DRAIN", help="Stop when no task is due."),
]
Lease = Annotated[
    float,
    typer.Option(
        envvar="TASKSCHEDULER_LEASE",
        min=1,
        max=DAY_S,
        help="After so many seconds without a heartbeat other workers take a worker's tasks.",
    ),
]
PollInterval = Annotated[
    float,
    typer.Option(
        envvar="TASKSCHEDULER_POLL_INTERVAL",
        min=0.01,
        max=DAY_S,
        help="How many seconds a worker waits before it looks for work without a wake-up.",
    ),
]
ResultBytesMax = Annotated[
    int,
    typer.Option(
        envvar="TASKSCHEDULER_RESULT_BYTES_MAX",
        min=0,
        max=RESULT_BYTES_LIMIT,
        help="How many bytes of JSON a handler may return.",
    ),
]
ShutdownTimeout = Annotated[
    float,
    typer.Option(
        envvar="TASKSCHEDULER_SHUTDOWN_TIMEOUT",
        min=0,
        max=DAY_S,
        help="How many seconds running handlers have to finish after SIGTERM.",
    ),
]
Retention = Annotated[
    list[str] | None,
    typer.Option(
        "--retention",
        envvar="TASKSCHEDULER_RETENTION",
        help="How long tasks that have ended are kept: 30d, or status:Failed,kind:Foo=90d; "
        "repeatable. By default for ever.",
        show_default=False,
    ),
]
RetentionExport = Annotated[
    Path | None,
    typer.Option(
        envvar="TASKSCHEDULER_RETENTION_EXPORT",
        help="A folder into which tasks are written before they are dropped.",
        show_default=False,
    ),
]
RetentionAudit = Annotated[
    str,
    typer.Option(
        envvar="TASKSCHEDULER_RETENTION_AUDIT",
        metavar="SPAN",
        help="How long the audit trail is kept: 400d, or forever.",
    ),
]
BarUrl = Annotated[
    str, typer.Option(envvar="TASKSCHEDULER_BAR_URL", help="The URL that the kind Bar fetches.")
]
MetricsHost = Annotated[
    str,
    typer.Option(envvar="TASKSCHEDULER_METRICS_HOST", help="The address to serve metrics on."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        envvar="TASKSCHEDULER_METRICS_PORT",
        min=0,
        max=65_535,
        help="Serve metrics on this port; of several processes each takes the next one.",
    ),
]
NoHttpTargets = Annotated[
    bool,
    typer.Option(
        "--no-http-targets",
        envvar="TASKSCHEDULER_NO_HTTP_TARGETS",
        help="Leave out the built-in kind http.",
    ),
]
HttpAllow = Annotated[
    list[str],
    typer.Option(
        envvar="TASKSCHEDULER_HTTP_ALLOW",
        help="An address, a network or a host that tasks of the kind http may call though it is "
        "not public; repeatable.",
        show_default=False,
    ),
]
WebhookSecret = Annotated[
    list[str],
    typer.Option(
        envvar="TASKSCHEDULER_WEBHOOK_SECRET",
        help="A secret to sign calls of the kind http with: whsec_ and base64; repeatable.",
        show_default=False,
    ),
]
Tracing = Annotated[
    TracingBy,
    typer.Option(
        envvar="TASKSCHEDULER_TRACING",
        help="otlp: export spans as the variables OTEL_… say.",
    ),
]
Data = Annotated[
    Path, typer.Option(envvar="TASKSCHEDULER_DATA", help="The folder of `dev`'s database.")
]
Level = Annotated[
    LogLevel,
    typer.Option(
        "--log-level", envvar="TASKSCHEDULER_LOG_LEVEL", help="The lowest severity to log."
    ),
]
LogForm = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        envvar="TASKSCHEDULER_LOG_FORMAT",
        help="json, text, or auto: text on a terminal.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(help="Whose task it is: a tenant, a customer, an order.", show_default=False),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="A name to find it by; may be repeated.", show_default=False),
]
AttemptTimeout = Annotated[
    float | None,
    typer.Option(
        min=0.000_001,
        max=YEAR_S,
        metavar="SECONDS",
        help="How long an attempt may take; by default the handler's.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]


def span(option: str, seconds: float) -> timedelta:
    """Return ``seconds`` as a span; not every typer sees that NaN is out of bounds.

    Raises:
        InvalidConfiguration: it is no number.
    """
    if isnan(seconds):
        message = f"{option} must be a number of seconds"
        raise InvalidConfiguration(message)
    return timedelta(seconds=seconds)
