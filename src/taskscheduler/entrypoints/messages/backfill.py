"""The shapes of a backfill of a schedule."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from msgspec import Meta, Struct, field

from taskscheduler.entrypoints.messages.tasks import YEARS, Instant

if TYPE_CHECKING:
    from taskscheduler.domain.ledger import BackfillStep

End = Annotated[Instant, Meta(description="ISO 8601 with an offset", extra_json_schema=YEARS)]


class BackfillMessage(Struct, forbid_unknown_fields=True, kw_only=True):
    """A span of fires, both ends included. It must not reach into the future."""

    from_: End = field(name="from")
    to: End


class BackfilledMessage(Struct, kw_only=True):
    """What one call came to: it looked at so many fires, of which `present` had a task already.

    `ids` are the tasks that it stored, in the order of their times. While `next_from` is not null,
    call again with it as `from`.
    """

    looked_at: int
    backfilled: int
    present: int
    next_from: datetime | None
    ids: list[UUID]

    @classmethod
    def of(cls, step: BackfillStep) -> BackfilledMessage:
        """Return ``step`` as it is sent."""
        return cls(
            looked_at=step.looked_at,
            backfilled=len(step.task_ids),
            present=step.present,
            next_from=step.next_from,
            ids=list(step.task_ids),
        )
