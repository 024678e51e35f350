"""API keys in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from taskscheduler.domain.access import ActiveKey, ApiKey
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import KeyNotFound
from taskscheduler.domain.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.access import Caller, NewKey


class MemoryApiKeys:
    """``ApiKeyRepository`` in memory."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def add(self, key: NewKey, *, by: Caller | None = None) -> ApiKey:
        """See ``ApiKeyRepository.add``."""
        now = self._state.now()
        expires = key.expires
        kept = ApiKey(
            id=key.id,
            name=key.name,
            digest=key.digest,
            scope=key.scope,
            queue_prefix=key.queue_prefix,
            created_at=now,
            expires_at=expires
            if expires is None or isinstance(expires, datetime)
            else now + expires,
            revoked_at=None,
            quota=key.quota,
        )
        if key.id not in self._state.keys:
            self._state.keys[key.id] = kept
            self._state.tell(by, Action.KEY_ADDED, target=key.id)
        return self._state.keys[key.id]

    async def limit(self, key_id: str, quota: Quota | None, *, by: Caller | None = None) -> ApiKey:
        """See ``ApiKeyRepository.limit``."""
        key = self._state.keys.get(key_id)
        if key is None:
            raise KeyNotFound(key_id)
        if quota == Quota():
            quota = None
        if key.quota != quota:
            key = self._state.keys[key_id] = replace(key, quota=quota)
            self._state.tell(by, Action.KEY_CHANGED, target=key_id)
        return key

    async def revoke(self, key_id: str, *, by: Caller | None = None) -> ApiKey:
        """See ``ApiKeyRepository.revoke``."""
        key = self._state.keys.get(key_id)
        if key is None:
            raise KeyNotFound(key_id)
        if key.revoked_at is None:
            key = self._state.keys[key_id] = replace(key, revoked_at=self._state.now())
            self._state.tell(by, Action.KEY_REVOKED, target=key_id)
        return key

    async def list(self) -> Sequence[ApiKey]:
        """See ``ApiKeyRepository.list``."""
        return sorted(
            self._state.keys.values(), key=lambda key: (key.created_at, key.id), reverse=True
        )

    async def active(self) -> Sequence[ActiveKey]:
        """See ``ApiKeyRepository.active``."""
        now = self._state.now()
        return [
            ActiveKey(key, None if key.expires_at is None else key.expires_at - now)
            for key in self._state.keys.values()
            if key.revoked_at is None and (key.expires_at is None or key.expires_at > now)
        ]
