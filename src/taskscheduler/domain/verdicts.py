"""How a handler says what should become of its task, other than by returning.

A handler raises (or returns) one of these. They are not errors, so they stand outside the tree of
errors.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from taskscheduler.domain.values import NAME, NAME_FORM

WAIT_DEFAULT: Final = timedelta(days=366)


class Verdict(Exception):
    """The root of the five verdicts."""


class Snooze(Verdict):
    """Call the handler again after ``delay``; this attempt does not count.

    Raises:
        TypeError: ``delay`` is no ``timedelta``. Nobody can tell which unit a number has.
    """

    def __init__(self, delay: timedelta) -> None:
        """``delay`` counts from the moment the verdict is stored."""
        self.delay = _span("Snooze", "delay", delay)
        super().__init__(f"snoozed for {delay}")


class Wait(Verdict):
    """Call the handler again when the signal of this name has come; this attempt does not count.

    Or after ``timeout``, if it has not come by then. ``context.signal`` tells the two apart.

    Raises:
        TypeError: ``timeout`` is no ``timedelta``. Nobody can tell which unit a number has.
        ValueError: no signal can have this name.
    """

    def __init__(self, name: str, timeout: timedelta | None = None) -> None:
        """``timeout`` counts from the moment the verdict is stored; without it, for a year."""
        if not isinstance(name, str) or NAME.fullmatch(name) is None:  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is checked
            message = f"Wait: the signal's name must be {NAME_FORM}"
            raise ValueError(message)
        self.name = name
        self.timeout = WAIT_DEFAULT if timeout is None else _span("Wait", "timeout", timeout)
        super().__init__(f"waits for the signal {name!r}")


class Retry(Verdict):
    """The attempt failed: try again after ``after``, or as the retry policy says.

    Raises:
        TypeError: ``after`` is no ``timedelta``. Nobody can tell which unit a number has.
    """

    def __init__(
        self, after: timedelta | None = None, reason: object = "the handler asked"
    ) -> None:
        """``after`` replaces the policy's delay, not its count of attempts."""
        self.after = None if after is None else _span("Retry", "after", after)
        self.reason = in_words(reason)
        super().__init__(self.reason)


class Cancel(Verdict):
    """The task is no longer wanted: it ends as Cancelled."""

    def __init__(self, reason: object = "the handler cancelled it") -> None:
        """``reason`` is kept in the task's history: a text, or an exception, or any object."""
        self.reason = in_words(reason)
        super().__init__(self.reason)


class Discard(Verdict):
    """Trying again cannot help: the task ends as Failed, whatever attempts are left."""

    def __init__(self, reason: object = "the handler discarded it") -> None:
        """``reason`` is kept in the task's history: a text, or an exception, or any object."""
        self.reason = in_words(reason)
        super().__init__(self.reason)


def in_words(reason: object) -> str:
    """Return ``reason`` as a text; an exception with its type, which often says more than it.

    Never raises: a handler's object may be unable to describe itself.
    """
    try:
        if isinstance(reason, BaseException):
            text = str(reason)
            return f"{type(reason).__name__}: {text}" if text else type(reason).__name__
        return str(reason)
    except BaseException:  # noqa: BLE001 - whatever stops the description, the verdict stands
        return f"{type(reason).__name__}, which cannot be described"


def _span(verdict: str, field: str, value: object) -> timedelta:
    if not isinstance(value, timedelta):
        message = (
            f"{verdict}: {field} must be a timedelta, such as timedelta(seconds=30), "
            f"not {type(value).__name__}"
        )
        raise TypeError(message)
    return value
