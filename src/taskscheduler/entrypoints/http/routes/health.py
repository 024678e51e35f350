"""The calls that tell whether the process lives and is ready, and its metrics."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, get
from litestar.di import NamedDependency

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable
from taskscheduler.entrypoints.http.errors import RETRY_AFTER_S
from taskscheduler.entrypoints.http.middleware.access import OPEN, reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.messages.health import (
    Health,
    Readiness,
    SchemaMessage,
    WakeUpsMessage,
)

if TYPE_CHECKING:
    pass

READY_S: Final = 2.0
AWAY: Final = "the database cannot be reached at present"


@get(
    "/healthz",
    opt=OPEN,
    operation_class=docs.Documented,
    summary="Is the process alive?",
    tags=["service"],
)
async def healthz() -> Health:
    """Answer as long as the process answers anything."""
    return Health("ok")


@get("/metrics", opt=reached_by("read"), include_in_schema=False)
async def metrics(metrics: NamedDependency[Any]) -> Response[bytes]:
    """Answer with the metrics of this process and of the store, for Prometheus."""
    from taskscheduler.entrypoints.metrics import MEDIA_TYPE  # noqa: PLC0415 - when asked for

    # The framework adds the charset of what is text.
    return Response(await metrics().exposition(), media_type=MEDIA_TYPE)


@get(
    "/readyz",
    opt=OPEN,
    operation_class=docs.Documented,
    responses=error_responses.NOT_READY_YET,
    summary="Can it work?",
    tags=["service"],
)
async def readyz(
    scheduler: NamedDependency[Scheduler], listener: NamedDependency[Any]
) -> Response[Readiness]:
    """Answer 200 when the database answers and its schema fits, 503 otherwise.

    Wake-ups that do not get through cost latency alone: they are told of, and change no status.
    """
    wakeups = WakeUpsMessage.of(scheduler.store.wakeups, listener())
    try:
        async with asyncio.timeout(READY_S):
            version = await scheduler.store.upkeep.schema_version()
    except (StoreUnavailable, SchemaMismatch, TimeoutError):
        return not_ready(Readiness("unavailable", AWAY, wakeups=wakeups))
    schema = SchemaMessage(version.found, version.expected)
    if not version.fits:
        detail = "the database's schema is missing or too old; run: taskscheduler migrate"
        return not_ready(Readiness("unavailable", detail, schema, wakeups))
    return Response(Readiness("ok", None, schema, wakeups))


def not_ready(readiness: Readiness) -> Response[Readiness]:
    """Return the answer of a service that cannot work, and when to ask again."""
    return Response(
        readiness,
        status_code=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
