"""The process's own clock, for waiting only."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The process's own time, for waiting only: the store's clock decides what is due."""

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""
        ...
