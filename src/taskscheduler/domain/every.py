"""``@every 1h30m``: an interval in the place of a cron expression."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from taskscheduler.domain.errors import InvalidSchedule

FORM: Final = re.compile(
    r"@every\s+((?:\d{1,9}(?:\.\d{1,6})?(?:ms|h|m|s))+)", re.ASCII | re.IGNORECASE
)
PART: Final = re.compile(r"([\d.]+)(ms|h|m|s)", re.IGNORECASE)
UNITS: Final = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


def every_of(cron: str) -> timedelta | None:
    """Return the interval that ``cron`` is, None if it is none. Raises InvalidSchedule."""
    text = cron.strip()
    if not text.lower().startswith("@every"):
        return None
    found = FORM.fullmatch(text)
    if found is None:
        reason = f"{cron!r} is not understood: give such as @every 90s or @every 1h30m"
        raise InvalidSchedule("cron", reason)
    parts = PART.findall(found[1])
    return sum((float(number) * UNITS[unit.lower()] for number, unit in parts), timedelta(0))
