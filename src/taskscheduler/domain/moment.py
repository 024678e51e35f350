"""Reading a time that somebody wrote: the one place, for HTTP and for the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

EXAMPLE: Final = "2024-03-30T23:17:10.790146Z"
FORM: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d)?)(?:(?<=:\d\d:\d\d)[.,](\d{1,32}))?"
    r"([Zz]|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
USUAL: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}|\.\d{6})?Z", re.ASCII)
"""As nearly all are written: the language reads these by itself."""
DIGITS: Final = 6
"""How many digits of a second a time keeps."""


def parse_moment(text: str) -> datetime:
    """Return the time that ``text`` is, in ISO 8601 and with an offset from UTC.

    What is finer than a microsecond is rounded up: a task must not begin before the time that was
    asked for.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    if USUAL.fullmatch(text) is not None:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass  # said below in words
    found = FORM.fullmatch(text)
    if found is None:
        message = f"must be a time in ISO 8601, such as {EXAMPLE}"
        raise ValueError(message)
    whole, fraction, offset = found.groups(default="")
    if not offset:
        message = f"must carry an offset from UTC, such as Z: {EXAMPLE}"
        raise ValueError(message)
    try:
        moment = datetime.fromisoformat(whole.upper() + offset.upper())
        kept, rest = fraction[:DIGITS], fraction[DIGITS:]
        beyond = 1 if rest.strip("0") else 0
        return moment + timedelta(microseconds=int(kept.ljust(DIGITS, "0")) + beyond)
    except (ValueError, OverflowError):
        message = f"must be a time that exists, such as {EXAMPLE}"
        raise ValueError(message) from None
