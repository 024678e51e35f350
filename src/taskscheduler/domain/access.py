"""Who may call: keys, what they reach, and in whose name something was done."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.errors import InvalidKey
from taskscheduler.domain.retention import SPAN_MAX
from taskscheduler.domain.values import LATEST, NAME, TENANT_MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.domain.quota import Quota

TOKEN: Final = re.compile(r"tsk_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)
KEY_ID: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
LABEL_CHARACTERS_MAX: Final = 128
PREFIX_CHARACTERS_MAX: Final = 64


class Scope(StrEnum):
    """How far a key reaches. Each contains those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def reaches(self, needed: Scope) -> bool:
        """Tell whether a key of this scope may do what needs ``needed``."""
        return ORDER.index(self) >= ORDER.index(needed)


ORDER: Final[Sequence[Scope]] = tuple(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key as its operator asks for it.

    ``id`` is 16 hexadecimal digits. ``digest`` is all that is kept of the secret. With
    ``queue_prefix`` the key reaches only tasks in queues whose names begin so. ``expires`` is an
    aware time, or a span from the store's now, or None for never. ``quota`` is the most that the
    queues which the key reaches may hold.

    Raises:
        InvalidKey: a field makes no sense.
    """

    id: str
    name: str
    digest: bytes
    scope: Scope = Scope.READ
    queue_prefix: str | None = None
    expires: datetime | timedelta | None = None
    quota: Quota | None = None

    def __post_init__(self) -> None:
        """Check each field."""
        if KEY_ID.fullmatch(self.id) is None:
            raise InvalidKey("id", "must be 16 hexadecimal digits")
        if not (1 <= len(self.name) <= LABEL_CHARACTERS_MAX and self.name.isprintable()):
            raise InvalidKey("name", f"must be 1 to {LABEL_CHARACTERS_MAX} printable characters")
        if self.queue_prefix is not None and (
            NAME.fullmatch(self.queue_prefix) is None
            or len(self.queue_prefix) > PREFIX_CHARACTERS_MAX
        ):
            raise InvalidKey(
                "queue_prefix",
                f"must be 1 to {PREFIX_CHARACTERS_MAX} letters, digits, or _ . : -",
            )
        match self.expires:
            case datetime() as moment if moment.utcoffset() is None or moment > LATEST:
                raise InvalidKey("expires", "must carry an offset from UTC and a year up to 9000")
            case timedelta() as span if not timedelta(0) < span <= SPAN_MAX:
                raise InvalidKey("expires", "must be above 0 and at most 100 years")
            case _:
                pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept; the secret is not part of it."""

    id: str
    name: str
    digest: bytes
    scope: Scope
    queue_prefix: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    quota: Quota | None = None

    def is_opened_by(self, digest: bytes) -> bool:
        """Tell whether ``digest`` is that of this key's secret, in time that tells nothing."""
        return hmac.compare_digest(self.digest, digest)


class ActiveKey(NamedTuple):
    """A key that opens at present, and for how much longer; None: until it is revoked."""

    key: ApiKey
    expires_in: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: in whose name something is done, from where, and within which queues.

    ``name`` is a person's word for it, such as the name of the key; ``key_id`` tells keys of the
    same name apart. ``address`` is the network's, ``request_id`` the request's own name.
    """

    name: str
    key_id: str | None = None
    scope: Scope = Scope.ADMIN
    queue_prefix: str | None = None
    address: str | None = None
    request_id: str | None = None
    quota: Quota | None = None

    @property
    def key_space(self) -> str | None:
        """What this caller's unique keys begin with where they are kept; None if it reaches all.

        No prefix has a slash in it, so no two tenants' keys can be the same.
        """
        return None if self.queue_prefix is None else f"{TENANT_MARK}{self.queue_prefix}/"

    def may_use(self, queue: str) -> bool:
        """Tell whether tasks in ``queue`` are within reach."""
        return self.queue_prefix is None or queue.startswith(self.queue_prefix)


def digest_of(secret: str) -> bytes:
    """Return what is kept of a secret.

    A plain hash: a secret of 256 random bits cannot be guessed, however fast guesses are checked.
    """
    return hashlib.sha256(secret.encode()).digest()
