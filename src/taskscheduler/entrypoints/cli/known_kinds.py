"""Which kinds the commands take: those that somebody has a handler for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.errors import InvalidConfiguration, UnknownKind
from taskscheduler.domain.query import TaskQuery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taskscheduler.application.client.scheduler import Scheduler


async def require_known(scheduler: Scheduler, kind: str, *, hint: str = "") -> None:
    """Check that ``kind`` is built in, or that a worker or an app has registered it.

    Raises:
        InvalidConfiguration: it is not; the known ones are named, and ``hint`` follows.
    """
    from taskscheduler.application.http_target.handler import KIND
    from taskscheduler.entrypoints.worker.demonstration import demonstration_handlers

    built_in = {*demonstration_handlers(), KIND}
    if kind in built_in:
        return
    try:
        await scheduler.require_known([kind])
    except UnknownKind as error:
        message = f"{UnknownKind(kind, sorted({*error.known, *built_in}))}{hint}"
        raise InvalidConfiguration(message) from None


async def require_known_unless(accepted: bool, scheduler: Scheduler, kind: str) -> None:
    """Check as above, unless every kind is ``accepted``."""
    if not accepted:
        hint = "; --accept-unknown-kinds stores it all the same"
        await require_known(scheduler, kind, hint=hint)


async def require_known_or_used(scheduler: Scheduler, kinds: Iterable[str]) -> None:
    """Check the ``kinds`` of a filter as above; one of which there are tasks is no slip either.

    A producer that goes before its workers may have stored them, and they are to be found.
    """
    for kind in kinds:
        if not await scheduler.store.board.states(TaskQuery(kind=kind, limit=1)):
            await require_known(scheduler, kind)
