"""The shapes of the health and readiness of a process."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from taskscheduler.domain.ports.wakeups import Listener, WakeUps


class SchemaMessage(Struct):
    """The version of the database's schema, and the one that this service needs at least."""

    found: int
    expected: int


class Health(Struct):
    """How the service is."""

    status: str
    detail: str | None = None


class WakeUpsMessage(Struct):
    """Whether this process tells workers of new work at once, and in which way.

    `state` is `connected`, `polling`, or `untried` while there was nothing to tell; it is so
    `since`. While it is `polling`, workers find work at their poll interval. That costs latency
    alone, so a service is ready all the same.
    """

    by: str
    state: str
    since: datetime
    reason: str | None = None

    @classmethod
    def of(cls, wakeups: WakeUps, listener: Listener | None) -> WakeUpsMessage:
        """Return it as it is sent; `listener` is that of a worker in this process."""
        by, hints = wakeups.by, wakeups.hints
        if by == "poll":
            return cls(by, "polling", hints.since, "it was chosen: --wakeups poll:")
        if hints.degraded is not None:
            # The reasons themselves may name hosts, and everybody may ask.
            return cls(by, "polling", hints.since, "they cannot be sent; the log says why")
        if listener is not None and listener.degraded is not None:
            return cls(by, "polling", listener.since, "they are not heard; the log says why")
        if listener is not None:
            return cls(by, "connected", listener.since)
        return cls(by, "untried" if hints.untried else "connected", hints.since)


class Readiness(Health):
    """How the service is; without `schema`, the database did not answer."""

    schema: SchemaMessage | None = None
    wakeups: WakeUpsMessage | None = None
