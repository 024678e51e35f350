"""The rule of a schedule: all that decides when it fires."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime, timedelta


class Gap(StrEnum):
    """What becomes of a wall time that is left out when clocks are put forward."""

    AFTER = "after"
    """It fires right after the gap, once, however many wall times of the rule are left out."""
    SKIP = "skip"
    """It does not fire."""


class Fold(StrEnum):
    """What becomes of a wall time that comes twice when clocks are put back."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"


class Rule(NamedTuple):
    """When a schedule fires; the fields are those of ``NewSchedule``.

    ``gap`` and ``fold`` are None where each expression itself decides: see ``timetable``.
    """

    cron: str | None = None
    every: timedelta | None = None
    time_zone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    gap: Gap | None = None
    fold: Fold | None = None
    crons: tuple[str, ...] = ()
    max_fires: int | None = None

    @property
    def expressions(self) -> tuple[str, ...]:
        """All cron expressions, each once."""
        given = self.crons if self.cron is None else (self.cron, *self.crons)
        return tuple(dict.fromkeys(given))
