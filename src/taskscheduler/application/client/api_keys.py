"""API keys: made, and told apart."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextvars import Context as Variables
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.access import TOKEN, NewKey, Scope, digest_of
from taskscheduler.domain.errors import TaskSchedulerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime, timedelta

    from taskscheduler.domain.access import ApiKey
    from taskscheduler.domain.ports.access import ApiKeyRepository
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.quota import Quota

RENEW_AFTER_S: Final = 1.0
STALE_AFTER_S: Final = 5.0
PAUSE_S: Final = 0.25

log = logging.getLogger("taskscheduler.keys")


class Issued(NamedTuple):
    """A new key, not yet kept, and the token that opens it, which nobody can tell again."""

    key: NewKey
    token: str


def issue(
    name: str,
    *,
    scope: Scope = Scope.READ,
    queue_prefix: str | None = None,
    expires: datetime | timedelta | None = None,
    quota: Quota | None = None,
) -> Issued:
    """Make a key. Raises InvalidKey."""
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    key = NewKey(
        id=key_id,
        name=name,
        digest=digest_of(secret),
        scope=scope,
        queue_prefix=queue_prefix,
        expires=expires,
        quota=quota,
    )
    return Issued(key, f"tsk_{key_id}_{secret}")


class Known(NamedTuple):
    """What a reading of the store said: the keys by id, each with the moment when it ends."""

    number: int
    read_at: float
    keys: Mapping[str, tuple[ApiKey, float]]


class KeyAuthenticator:
    """Tells whose token it is, from what was read of the store a moment ago.

    All active keys are read at once, so a caller with a key that is known costs no round trip. A
    reading is renewed in the background once it is ``RENEW_AFTER_S`` old and is not believed once
    it is ``STALE_AFTER_S`` old: so far can a revocation lag.

    A token that fits none of them is refused only by a reading that began after it came, so a new
    key opens at once; but readings begin ``PAUSE_S`` apart at least. So whatever is tried, the
    store is asked no oftener, nothing is remembered of what was tried, and trying takes time.
    """

    def __init__(
        self,
        keys: ApiKeyRepository,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Read ``keys`` when that is needed; ``clock`` says how old a reading is."""
        self._keys = keys
        self._clock = clock
        self._sleep = sleep
        self._known = Known(0, -inf, {})
        self._begun = 0
        self._began_at = -inf
        self._reading: asyncio.Task[None] | None = None
        self._nobodys = secrets.token_bytes(32)

    async def identify(self, token: str) -> ApiKey | None:
        """Return the active key that ``token`` opens; None if it opens none.

        A key that is not known and a wrong secret take the same way and the same time.

        Raises:
            StoreUnavailable: the keys cannot be read at present.
        """
        form = TOKEN.fullmatch(token)
        if form is None:
            return None
        key_id, digest = form[1], digest_of(form[2])
        begun = self._begun
        age = self._clock.monotonic() - self._known.read_at
        if age >= RENEW_AFTER_S:
            reading = self._read_soon()
            if age >= STALE_AFTER_S:
                await asyncio.shield(reading)
        if (key := self._opened(key_id, digest)) is not None:
            return key
        while self._known.number <= begun:
            # Shielded: others wait for the same reading.
            await asyncio.shield(self._read_soon())
        return self._opened(key_id, digest)

    def _opened(self, key_id: str, digest: bytes) -> ApiKey | None:
        found = self._known.keys.get(key_id)
        # Compared in every case, so that the time taken does not tell which ids there are.
        expected = self._nobodys if found is None else found[0].digest
        fits = secrets.compare_digest(expected, digest)
        if found is None or not fits or self._clock.monotonic() >= found[1]:
            return None
        return found[0]

    def _read_soon(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            # Done for many: no log line of it belongs to the one that began it.
            self._reading = asyncio.create_task(self._read(), context=Variables())
            self._reading.add_done_callback(_note_failure)
        return self._reading

    async def _read(self) -> None:
        pause = self._began_at + PAUSE_S - self._clock.monotonic()
        if pause > 0:
            await self._sleep(pause)
        self._begun += 1
        number, began_at = self._begun, self._clock.monotonic()
        self._began_at = began_at
        active = await self._keys.active()
        # Counted from before the question, so that a key ends early rather than late.
        self._known = Known(
            number,
            began_at,
            {
                key.id: (key, inf if left is None else began_at + left.total_seconds())
                for key, left in active
            },
        )


def _note_failure(reading: asyncio.Task[None]) -> None:
    if reading.cancelled():
        return
    match reading.exception():
        case None:
            pass
        case TaskSchedulerError() as error:
            log.warning("the API keys cannot be read: %s", error)
        case error:
            log.error("the API keys cannot be read", exc_info=error)
