"""Spans of time as people write them: 90s, 12h, 30d."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

FORM: Final = re.compile(r"([0-9]{1,7})([smhdw])", re.ASCII)
UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
SPAN_MAX: Final = timedelta(days=100 * 366)
"""A hundred years: with so much added or taken, every time of ours stays one."""


def span_of(text: str) -> timedelta | None:
    """Return the span that ``text`` is; None if it is none, or longer than a hundred years."""
    parts = FORM.fullmatch(text)
    if parts is None:
        return None
    span = int(parts[1]) * UNITS[parts[2]]
    return span if span <= SPAN_MAX else None
