"""The version of a store's schema."""

from __future__ import annotations

from typing import NamedTuple


class SchemaVersion(NamedTuple):
    """The version that was ``found``, 0 for none, and the one that this program ``expected``."""

    found: int
    expected: int

    @property
    def fits(self) -> bool:
        """Whether this program can work: a later release's schema takes its statements, too."""
        return self.found >= self.expected
