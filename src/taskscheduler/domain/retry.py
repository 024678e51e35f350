"""How long to wait before a failed attempt is tried again, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ATTEMPTS_DEFAULT: Final = 20
MAX_ATTEMPTS_LIMIT: Final = 32_767
DELAY_MAX: Final = timedelta(days=3660)


def bounded(delay: timedelta) -> timedelta:
    """Return ``delay`` kept to what any store can add to its clock."""
    return min(max(delay, timedelta(0)), DELAY_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter.

    The wait after attempt ``n`` (1-based) is ``min(cap, base * factor ** (n - 1))``, of which the
    last ``jitter`` share is drawn at random, so that tasks that failed together do not come back
    together.

    Raises:
        ValueError: a value is out of its range.
    """

    max_attempts: int = MAX_ATTEMPTS_DEFAULT
    base: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    cap: timedelta = timedelta(hours=1)
    jitter: float = 0.25

    def __post_init__(self) -> None:
        """Refuse values that would retry too often, never, or back in time."""
        for field, kind in (("max_attempts", int), ("base", timedelta), ("cap", timedelta)):
            value = getattr(self, field)
            if not isinstance(value, kind) or isinstance(value, bool):
                message = f"{field} must be {_a(kind)}, not {type(value).__name__}"
                raise ValueError(message)  # noqa: TRY004 - one kind of error for all that is wrong
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS_LIMIT:
            message = f"max_attempts must be 1 to {MAX_ATTEMPTS_LIMIT}, not {self.max_attempts}"
            raise ValueError(message)
        if self.base < timedelta(0) or self.cap < timedelta(0):
            message = "base and cap must not be negative"
            raise ValueError(message)
        if not self.factor >= 1:
            message = f"factor must be at least 1, not {self.factor}"
            raise ValueError(message)
        if not 0 <= self.jitter <= 1:
            message = f"jitter must be 0 to 1, not {self.jitter}"
            raise ValueError(message)

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta:
        """Return the wait after the failed ``attempt`` (1-based).

        ``random`` returns a float in ``[0, 1)``; it is handed in so that tests choose it.
        """
        cap = self.cap.total_seconds()
        base = self.base.total_seconds()
        try:
            full = min(cap, base * self.factor ** (attempt - 1))
        except OverflowError:
            full = cap if base else 0.0
        return timedelta(seconds=full * (1 - self.jitter * random()))


def _a(kind: type) -> str:
    return f"an {kind.__name__}" if kind is int else f"a {kind.__name__}"
