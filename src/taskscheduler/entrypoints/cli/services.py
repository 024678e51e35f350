"""``dev``, ``api`` and ``worker``: the long-running commands."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from taskscheduler.domain.errors import InvalidConfiguration, StoreRefused, StoreUnavailable
from taskscheduler.domain.notes import RESULT_BYTES_MAX
from taskscheduler.domain.retention import AUDIT_DEFAULT, RetentionPolicy, audit_span
from taskscheduler.entrypoints.cli import options as o
from taskscheduler.entrypoints.cli.store import store_settings
from taskscheduler.entrypoints.settings import (
    BAR_URL_DEFAULT,
    BODY_BYTES_MAX_DEFAULT,
    CONNECTIONS_DEFAULT,
    ApiSettings,
    DevSettings,
    HttpTargetSettings,
    LogFormat,
    LogLevel,
    TracingBy,
    WorkerSettings,
)
from taskscheduler.settings import WAKEUPS_DEFAULT

RATE_MAX: Final = 1_000_000

if TYPE_CHECKING:
    from collections.abc import Generator

    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.domain.ports.tracing import Tracing
    from taskscheduler.settings import StoreSettings


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(dev)
    app.command()(api)
    app.command()(worker)


def dev(
    host: o.Host = "127.0.0.1",
    port: o.Port = 3000,
    data: o.Data = o.DATA_DEFAULT,
    schema: o.Schema = "taskscheduler",
    app: o.App = None,
    queue: o.Queues = ["default"],  # noqa: B006 - typer's own form; never changed
    concurrency: o.Concurrency = 50,
    lease: o.Lease = 10,
    poll_interval: o.PollInterval = 1,
    shutdown_timeout: o.ShutdownTimeout = 5,
    result_bytes_max: o.ResultBytesMax = RESULT_BYTES_MAX,
    accept_unknown_kinds: o.AcceptUnknownKinds = False,
    body_bytes_max: o.BodyBytesMax = BODY_BYTES_MAX_DEFAULT,
    access: o.Access = None,
    insecure: o.Insecure = False,
    rate_limit: o.RateLimit = None,
    cors_origin: o.CorsOrigins = [],  # noqa: B006 - typer's own form; never changed
    allowed_host: o.AllowedHosts = [],  # noqa: B006 - typer's own form; never changed
    trusted_proxy: o.TrustedProxies = [],  # noqa: B006 - typer's own form; never changed
    connections_max: o.ConnectionsMax = CONNECTIONS_DEFAULT,
    no_access_log: o.NoAccessLog = False,
    bar_url: o.BarUrl = BAR_URL_DEFAULT,
    retention: o.Retention = None,
    retention_export: o.RetentionExport = None,
    retention_audit: o.RetentionAudit = AUDIT_DEFAULT,
    no_http_targets: o.NoHttpTargets = False,
    http_allow: o.HttpAllow = [],  # noqa: B006 - typer's own form; never changed
    webhook_secret: o.WebhookSecret = [],  # noqa: B006 - typer's own form; never changed
    tracing: o.Tracing = TracingBy.OFF,
    log_level: o.Level = LogLevel.INFO,
    log_format: o.LogForm = LogFormat.AUTO,
) -> None:
    """Everything in one process, on an embedded PostgreSQL that keeps its data."""
    _logs(log_level, log_format)
    from taskscheduler.entrypoints.dev import run_dev

    settings = DevSettings(
        data=data,
        schema=schema,
        api=ApiSettings(
            host=host,
            port=port,
            accept_unknown_kinds=accept_unknown_kinds,
            body_bytes_max=body_bytes_max,
            access=access,
            insecure=insecure,
            rate_limit=_per_second(rate_limit),
            cors_origins=_names(cors_origin),
            access_log=not no_access_log,
            allowed_hosts=_names(allowed_host),
            trusted_proxies=_names(trusted_proxy),
            connections_max=connections_max,
        ),
        worker=WorkerSettings(
            app=app,
            queues=_names(queue),
            concurrency=concurrency,
            lease=o.span("--lease", lease),
            poll_interval=o.span("--poll-interval", poll_interval),
            shutdown_timeout=o.span("--shutdown-timeout", shutdown_timeout),
            drain=False,
            bar_url=bar_url,
            retention=RetentionPolicy.parse(retention or ()),
            retention_export=retention_export,
            retention_audit=audit_span(retention_audit),
            result_bytes_max=result_bytes_max,
        ),
    )
    targets = _targets(no_http_targets, http_allow, webhook_secret)
    handlers = _handlers(app, bar_url, targets)
    with _traced(tracing, "taskscheduler", log_level, log_format) as spans:
        run_dev(settings, handlers, _say, spans)


def api(
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    listen_url: o.ListenUrl = None,
    pool_size: o.PoolSize = 10,
    unique_for: o.UniqueFor = 86_400,
    wakeups: o.WakeUps = WAKEUPS_DEFAULT,
    host: o.Host = "127.0.0.1",
    port: o.Port = 3000,
    accept_unknown_kinds: o.AcceptUnknownKinds = False,
    body_bytes_max: o.BodyBytesMax = BODY_BYTES_MAX_DEFAULT,
    access: o.Access = None,
    insecure: o.Insecure = False,
    rate_limit: o.RateLimit = None,
    cors_origin: o.CorsOrigins = [],  # noqa: B006 - typer's own form; never changed
    allowed_host: o.AllowedHosts = [],  # noqa: B006 - typer's own form; never changed
    trusted_proxy: o.TrustedProxies = [],  # noqa: B006 - typer's own form; never changed
    connections_max: o.ConnectionsMax = CONNECTIONS_DEFAULT,
    no_access_log: o.NoAccessLog = False,
    no_http_targets: o.NoHttpTargets = False,
    tracing: o.Tracing = TracingBy.OFF,
    log_level: o.Level = LogLevel.INFO,
    log_format: o.LogForm = LogFormat.AUTO,
) -> None:
    """The REST service; run as many as you like."""
    _logs(log_level, log_format)
    store = store_settings(database_url, schema, listen_url, pool_size, unique_for, wakeups)
    settings = ApiSettings(
        host=host,
        port=port,
        accept_unknown_kinds=accept_unknown_kinds,
        body_bytes_max=body_bytes_max,
        access=access,
        insecure=insecure,
        rate_limit=_per_second(rate_limit),
        cors_origins=_names(cors_origin),
        access_log=not no_access_log,
        allowed_hosts=_names(allowed_host),
        trusted_proxies=_names(trusted_proxy),
        connections_max=connections_max,
    )
    from taskscheduler.entrypoints.http.main import run_api

    targets = HttpTargetSettings(enabled=not no_http_targets)
    handlers = _handlers(None, BAR_URL_DEFAULT, targets)
    with _traced(tracing, "taskscheduler-api", log_level, log_format) as spans:
        run_api(store, settings, handlers, _say, spans)


def worker(
    database_url: o.DatabaseUrl = None,
    schema: o.Schema = "taskscheduler",
    listen_url: o.ListenUrl = None,
    pool_size: o.PoolSize = 10,
    unique_for: o.UniqueFor = 86_400,
    wakeups: o.WakeUps = WAKEUPS_DEFAULT,
    app: o.App = None,
    queue: o.Queues = ["default"],  # noqa: B006 - typer's own form; never changed
    concurrency: o.Concurrency = 50,
    processes: o.Processes = 1,
    drain: o.Drain = False,
    lease: o.Lease = 30,
    poll_interval: o.PollInterval = 1,
    shutdown_timeout: o.ShutdownTimeout = 20,
    result_bytes_max: o.ResultBytesMax = RESULT_BYTES_MAX,
    bar_url: o.BarUrl = BAR_URL_DEFAULT,
    retention: o.Retention = None,
    retention_export: o.RetentionExport = None,
    retention_audit: o.RetentionAudit = AUDIT_DEFAULT,
    metrics_host: o.MetricsHost = "127.0.0.1",
    metrics_port: o.MetricsPort = None,
    no_http_targets: o.NoHttpTargets = False,
    http_allow: o.HttpAllow = [],  # noqa: B006 - typer's own form; never changed
    webhook_secret: o.WebhookSecret = [],  # noqa: B006 - typer's own form; never changed
    tracing: o.Tracing = TracingBy.OFF,
    log_level: o.Level = LogLevel.INFO,
    log_format: o.LogForm = LogFormat.AUTO,
) -> None:
    """A worker; run as many as you like. SIGTERM: finish, give the rest back, end."""
    _logs(log_level, log_format)
    store = store_settings(database_url, schema, listen_url, pool_size, unique_for, wakeups)
    settings = WorkerSettings(
        app=app,
        queues=_names(queue),
        concurrency=concurrency,
        lease=o.span("--lease", lease),
        poll_interval=o.span("--poll-interval", poll_interval),
        shutdown_timeout=o.span("--shutdown-timeout", shutdown_timeout),
        drain=drain,
        bar_url=bar_url,
        retention=RetentionPolicy.parse(retention or ()),
        retention_export=retention_export,
        retention_audit=audit_span(retention_audit),
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        result_bytes_max=result_bytes_max,
    )
    targets = _targets(no_http_targets, http_allow, webhook_secret)
    handlers = _handlers(app, bar_url, targets)
    if drain or processes > 1:
        _reach(store, patient=not drain)
    if processes > 1:
        # Each traces for itself, but only once it is sure that they can.
        with _traced(tracing, "taskscheduler-worker", log_level, log_format):
            pass
        from taskscheduler.entrypoints.worker.processes import supervise

        raise typer.Exit(supervise([*sys.argv[1:], "--processes", "1"], processes, metrics_port))
    from taskscheduler.entrypoints.loop import run
    from taskscheduler.entrypoints.process_container import ProcessContainer
    from taskscheduler.entrypoints.worker.banner import banner
    from taskscheduler.entrypoints.worker.main import run_worker

    with _traced(tracing, "taskscheduler-worker", log_level, log_format) as spans:
        container = ProcessContainer(
            settings=store, handlers=handlers, worker_settings=settings, tracing=spans
        )
        said = banner(settings, handlers, store)
        run(run_worker(container, settings, banner=said))


def _reach(store: StoreSettings, *, patient: bool) -> None:
    """Say at once what keeps us from the database; ``patient``, only what waiting cannot mend."""
    from taskscheduler.container import reach
    from taskscheduler.entrypoints.loop import run

    try:
        run(reach(store.url, store.schema))
    except StoreUnavailable as error:
        if isinstance(error, StoreRefused) or not patient:
            raise


def _handlers(app: str | None, bar_url: str, targets: HttpTargetSettings) -> Handlers:
    from taskscheduler.entrypoints.worker.app import load_handlers
    from taskscheduler.entrypoints.worker.demonstration import (
        demonstration_handlers,
    )

    handlers = demonstration_handlers(bar_url)
    if targets.enabled:
        from taskscheduler.container import http_target_handlers

        handlers.include(http_target_handlers(allow=targets.allow, secrets=targets.secrets))
    if app is None:
        return handlers
    own = load_handlers(app)
    own.include(handlers)
    return own


def _names(values: list[str]) -> tuple[str, ...]:
    """Return the names; one value may carry several, apart by commas or spaces."""
    return tuple(name for each in values for name in each.replace(",", " ").split())


def _per_second(text: str | None) -> float | None:
    """Return the calls a second that ``--rate-limit`` allows. Raises InvalidConfiguration."""
    if text is None:
        return None
    number, found, unit = text.partition("/")
    try:
        per_s = float(number) / {"s": 1, "m": 60, "": 0 if found else 1}[unit]
    except (ValueError, KeyError, ZeroDivisionError):
        per_s = 0.0
    if not 0 < per_s <= RATE_MAX:
        message = f"--rate-limit {text!r} is not a rate; expected such as 50/s or 100/m"
        raise InvalidConfiguration(message)
    return per_s


def _targets(off: bool, allow: list[str], secrets: list[str]) -> HttpTargetSettings:
    return HttpTargetSettings(enabled=not off, allow=_names(allow), secrets=_names(secrets))


def _logs(level: LogLevel, form: LogFormat, tracing: Tracing | None = None) -> None:
    from taskscheduler.entrypoints.logs import configure_logs

    configure_logs(level, form, tracing)


@contextmanager
def _traced(
    by: TracingBy, service: str, level: LogLevel, form: LogFormat
) -> Generator[Tracing | None]:
    """Trace as asked for; at the end, hand over the last spans. Raises InvalidConfiguration.

    Begun after the handlers are loaded: a provider of their own is used.
    """
    if by is TracingBy.OFF:
        yield None
        return
    from taskscheduler.container import otlp_tracing

    tracing = otlp_tracing(service)
    _logs(level, form, tracing)
    try:
        yield tracing
    finally:
        tracing.close()


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()
