"""Waiting longer and longer for something that is away."""

from __future__ import annotations

import asyncio
import random
from typing import Final

FIRST_S: Final = 0.1
LAST_S: Final = 5.0


class Backoff:
    """Doubling waits with jitter, so that many clients do not return in step."""

    def __init__(self, last_s: float = LAST_S) -> None:
        """Start with the shortest wait; grow to ``last_s``."""
        self._last_s = last_s
        self._next_s = min(FIRST_S, last_s)

    async def sleep(self) -> None:
        """Wait, and double the next wait."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        self._next_s = min(self._next_s * 2, self._last_s)

    def reset(self) -> None:
        """Begin again: what was away is back."""
        self._next_s = min(FIRST_S, self._last_s)
