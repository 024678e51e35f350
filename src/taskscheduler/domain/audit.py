"""Who did what, to which task, when, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from taskscheduler.domain.query import LIMIT_DEFAULT

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from taskscheduler.domain.access import Caller


class Action(StrEnum):
    """What somebody did."""

    CREATED = "created"
    CHANGED = "changed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    RUN = "run"
    DELETED = "deleted"
    SIGNALLED = "signalled"
    PAUSED = "paused"
    RESUMED = "resumed"
    KEY_ADDED = "key added"
    KEY_CHANGED = "key changed"
    KEY_REVOKED = "key revoked"
    BATCH_ADDED = "batch added"
    BATCH_SEALED = "batch sealed"
    LIMIT_ADDED = "limit added"
    LIMIT_CHANGED = "limit changed"
    LIMIT_DELETED = "limit deleted"
    SCHEDULE_ADDED = "schedule added"
    SCHEDULE_CHANGED = "schedule changed"
    SCHEDULE_PAUSED = "schedule paused"
    SCHEDULE_RESUMED = "schedule resumed"
    SCHEDULE_DELETED = "schedule deleted"
    SCHEDULE_BACKFILLED = "schedule backfilled"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that was done, and stays written.

    ``actor`` is the caller's name. ``task_id`` is there where it was done to a task, ``target``
    where it was done to a key, a batch, a queue, a limit or a schedule: the id or the name. ``at``
    is the store's time.
    """

    id: int
    at: datetime
    action: Action
    actor: str
    key_id: str | None
    address: str | None
    request_id: str | None
    task_id: UUID | None
    target: str | None

    @classmethod
    def of(
        cls,
        number: int,
        at: datetime,
        action: Action,
        by: Caller,
        *,
        task_id: UUID | None = None,
        target: str | None = None,
    ) -> AuditEntry:
        """Return the entry for what ``by`` did."""
        return cls(
            id=number,
            at=at,
            action=action,
            actor=by.name,
            key_id=by.key_id,
            address=by.address,
            request_id=by.request_id,
            task_id=task_id,
            target=target,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which entries to list, newest first. ``before`` is the cursor: only those with smaller ids.

    ``actor`` is a caller's name or the id of its key.
    """

    task_id: UUID | None = None
    target: str | None = None
    actor: str | None = None
    before: int | None = None
    limit: int = LIMIT_DEFAULT


class Pruned(NamedTuple):
    """How many entries one turn deleted. With ``more``, another finds more to do at once."""

    deleted: int
    more: bool = False
