"""What the calls of all resources have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Router
from litestar.di import Provide

from taskscheduler.entrypoints.http.errors import HANDLERS
from taskscheduler.entrypoints.http.middleware.access import seen_by_caller
from taskscheduler.entrypoints.http.middleware.known_parameters import check_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar.types import ControllerRouterHandler

    from taskscheduler.application.client.scheduler import Scheduler


def router_of(
    scheduler: Scheduler,
    calls: Sequence[ControllerRouterHandler],
    *,
    tag: str | None = None,
    **values: Callable[[], object],
) -> Router:
    """Return ``calls``, errors included, to be mounted in any Litestar application.

    ``scheduler`` must be open while the application serves. A call that has a parameter of this
    name is given it, as far as its caller's key reaches; others are given what ``values`` return.
    """
    return Router(
        path="/",
        dependencies={
            "scheduler": Provide(seen_by_caller(scheduler), sync_to_thread=False),
            **{name: Provide(value, sync_to_thread=False) for name, value in values.items()},
        },
        exception_handlers=dict(HANDLERS),
        before_request=check_parameters,
        route_handlers=calls,
        tags=None if tag is None else [tag],
    )
