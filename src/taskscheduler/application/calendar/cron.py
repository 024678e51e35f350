"""Cron expressions: which wall times they mean.

``cronsim`` reads them and walks the calendar. It is shown wall times without a zone only: what a
change of clocks does to them is decided in ``wallclock``. What it would read in another way than
cron does is put right, or refused, before it sees it.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from taskscheduler.domain.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS: Final = (
    ("second", Field.SECOND, 60),
    ("minute", Field.MINUTE, 60),
    ("hour", Field.HOUR, 24),
    ("day of the month", Field.DAY, 31),
    ("month", Field.MONTH, 12),
    ("weekday", Field.DOW, 7),
)
"""Each with the longest step that it has room for."""
WHOLE: Final = {
    Field.SECOND: "minute",
    Field.MINUTE: "hour",
    Field.HOUR: "day",
    Field.DAY: "month",
    Field.MONTH: "year",
    Field.DOW: "week",
}
EPOCH: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall time
FORM: Final = (
    "give five fields, minute hour day month weekday, or six with the seconds first, or one of "
    + ", ".join(NICKNAMES)
)


class Expression:
    """A cron expression that was read."""

    def __init__(self, text: str) -> None:
        """Read ``text``. Raises InvalidSchedule."""
        fields = NICKNAMES.get(text.strip().lower(), text).upper().split()
        if len(fields) not in {5, 6}:
            raise InvalidSchedule("cron", f"{text!r} is not understood: {FORM}")
        has_seconds = len(fields) == len(FIELDS)
        places = FIELDS if has_seconds else FIELDS[1:]
        try:
            fields = [_field(text, *place) for text, place in zip(fields, places, strict=True)]
            self._walk = CronSim(" ".join(fields), EPOCH)
        except CronSimError as error:
            reason = f"{text!r} is not understood ({str(error).lower()}): {FORM}"
            raise InvalidSchedule("cron", reason) from None
        self.by_elapsed_time = has_seconds or any(field.startswith("*") for field in fields[:2])
        """Whether it fires so often that it goes by elapsed time when clocks change."""

    def __call__(self, after: datetime) -> Iterator[datetime]:
        """See ``Walls``."""
        walk = copy(self._walk)  # to read the expression takes longer than a step
        walk.dt = after.replace(microsecond=0)
        return walk


@lru_cache(maxsize=4_096)
def expression_of(text: str) -> Expression:
    """Return what ``text`` means; schedules share expressions. Raises InvalidSchedule."""
    return Expression(text)


def _field(text: str, name: str, field: Field, step_max: int) -> str:
    """Return the field as the library is to see it. Raises InvalidSchedule, CronSimError."""
    return ",".join(_term(term, name, field, step_max) for term in text.split(","))


def _term(term: str, name: str, field: Field, step_max: int) -> str:
    base, slash, step = term.partition("/")
    if not slash:
        return term
    if base in {"L", "LW"}:
        raise InvalidSchedule("cron", f"the {name} {term!r} has a step, and {base} is one day")
    if step.isascii() and step.isdigit() and int(step) > step_max:
        reason = (
            f"the {name}'s step in {term!r} must be at most {step_max}: steps begin anew with each "
            f"{WHOLE[field]}, so a longer one would never be taken. For other spans use every_s"
        )
        raise InvalidSchedule("cron", reason)
    # A range of one value, which the library would take for a value to count on from.
    if "-" in base and step.strip("0").isdigit() and len(field.parse(base)) == 1:
        return base
    return term
