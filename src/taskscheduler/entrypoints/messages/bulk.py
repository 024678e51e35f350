"""The shape of one step of a bulk change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from taskscheduler.domain.bulk import BulkStep

if TYPE_CHECKING:
    pass


class BulkMessage(Struct, kw_only=True):
    """What one call did. While there is a `cursor`, call again with it.

    `waiting` is how many of those that were retried wait for a time that is still to come.
    """

    looked_at: int
    changed: int
    waiting: int
    cursor: str | None

    @classmethod
    def of(cls, step: BulkStep) -> BulkMessage:
        """Return ``step`` as it is sent."""
        cursor = None if step.cursor is None else str(step.cursor)
        return cls(
            looked_at=step.looked_at, changed=step.changed, waiting=step.waiting, cursor=cursor
        )
