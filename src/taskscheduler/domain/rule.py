"""The rule of a schedule: all that decides when it fires."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence
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


RRULE_CHARACTERS_MAX: Final = 1_024
EXCEPT_MAX: Final = 200
EXCEPT_CHARACTERS_MAX: Final = 256


def check_texts(rrule: str | None, except_: Sequence[str]) -> None:
    """Check the sizes of what is read elsewhere. Raises InvalidSchedule."""
    if rrule is not None and not 1 <= len(rrule) <= RRULE_CHARACTERS_MAX:
        raise InvalidSchedule("rrule", f"must be 1 to {RRULE_CHARACTERS_MAX} characters")
    if len(except_) > EXCEPT_MAX:
        raise InvalidSchedule("except", f"must be at most {EXCEPT_MAX} entries")
    if not all(1 <= len(each) <= EXCEPT_CHARACTERS_MAX for each in except_):
        raise InvalidSchedule("except", f"must be 1 to {EXCEPT_CHARACTERS_MAX} characters each")


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
    rrule: str | None = None
    except_: tuple[str, ...] = ()

    @property
    def expressions(self) -> tuple[str, ...]:
        """All cron expressions, each once."""
        given = self.crons if self.cron is None else (self.cron, *self.crons)
        return tuple(dict.fromkeys(given))
