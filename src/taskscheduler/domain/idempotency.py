"""The name of a request, by which its repetition is known."""

from __future__ import annotations

from dataclasses import dataclass

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.values import UNIQUE_KEY_CHARACTERS_MAX


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A producer's name for one request, and a digest of what it asks for.

    Raises:
        InvalidTask: the key cannot be stored.
    """

    key: str
    fingerprint: bytes

    def __post_init__(self) -> None:
        """Check the key."""
        if not 1 <= len(self.key) <= UNIQUE_KEY_CHARACTERS_MAX or not self.key.isprintable():
            raise InvalidTask(
                "idempotency_key", f"must be 1 to {UNIQUE_KEY_CHARACTERS_MAX} printable characters"
            )
