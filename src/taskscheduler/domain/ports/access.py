"""API keys and the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from taskscheduler.domain.access import ActiveKey, ApiKey, Caller, NewKey
    from taskscheduler.domain.audit import AuditEntry, AuditQuery, Pruned
    from taskscheduler.domain.quota import Quota


class ApiKeyRepository(Protocol):
    """The keys that open the service. Its clock alone decides which have expired."""

    async def add(self, key: NewKey, *, by: Caller | None = None) -> ApiKey:
        """Keep a new key and return it. Repeating is safe: the same id is kept once.

        What is done ``by`` somebody is written into the audit trail, here as with tasks.
        """
        ...

    async def limit(self, key_id: str, quota: Quota | None, *, by: Caller | None = None) -> ApiKey:
        """Give a key another ``quota``, or with None no quota, and return it.

        What is there by now stays, however much it is. Repeating is safe.

        Raises:
            KeyNotFound: there is none.
        """
        ...

    async def revoke(self, key_id: str, *, by: Caller | None = None) -> ApiKey:
        """Revoke a key, for good, and return it; one that is revoked stays as it is.

        Raises:
            KeyNotFound: there is none.
        """
        ...

    async def list(self) -> Sequence[ApiKey]:
        """Return every key, expired and revoked ones too, the newest first."""
        ...

    async def active(self) -> Sequence[ActiveKey]:
        """Return the keys that are neither revoked nor expired, in no particular order."""
        ...


class AuditTrail(Protocol):
    """What was done, and by whom. Entries come from the changes themselves."""

    async def list(self, query: AuditQuery) -> Sequence[AuditEntry]:
        """Return up to ``query.limit`` entries that match, newest first."""
        ...

    async def prune(self, keep: timedelta, *, dry_run: bool = False) -> Pruned:
        """Delete entries that are older than ``keep``, the oldest first; how many is bounded.

        Any number may call it at once. With ``dry_run`` nothing is deleted, and what would be is
        counted. Repeating is safe. The ids of what is deleted are never given again.
        """
        ...
