"""The shape of an entry of the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from taskscheduler.domain.audit import Action, AuditEntry

if TYPE_CHECKING:
    pass


class AuditMessage(Struct):
    """One thing that somebody did."""

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
    def of(cls, entry: AuditEntry) -> AuditMessage:
        """Return ``entry`` as it is sent."""
        return cls(**{name: getattr(entry, name) for name in cls.__struct_fields__})
