"""How long tasks that have ended are kept, and what was done to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.status import FINAL, TaskStatus
from taskscheduler.domain.values import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date


FOREVER: Final = "forever"
AUDIT_DEFAULT: Final = "400d"
"""A year, and what it takes to notice that one is over."""
FORM: Final = (
    "expected 30d (also s, m, h, w, up to 100 years, or forever), with status:<status> or "
    "kind:<kind> or both before it: status:Failed,kind:Foo=90d"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """Keep tasks of a status and a kind, or of any where None, for ``keep``; None: for ever."""

    status: TaskStatus | None = None
    kind: str | None = None
    keep: timedelta | None = None

    @property
    def weight(self) -> tuple[bool, bool]:
        """Of two rules that fit, the one with the greater weight holds: kind before status."""
        return self.kind is not None, self.status is not None

    @classmethod
    def parse(cls, text: str) -> RetentionRule:
        """Return the rule that ``text`` is. Raises InvalidConfiguration."""
        choice, found, span = text.rpartition("=")
        chosen: dict[str, str] = {}
        for each in choice.split(",") if found else ():
            field, _, value = each.partition(":")
            chosen[field] = value
        keep = None if span == FOREVER else span_of(span)
        status, kind = chosen.pop("status", None), chosen.pop("kind", None)
        if (
            chosen
            or (status is not None and status not in FINAL)
            or (kind is not None and NAME.fullmatch(kind) is None)
            or (span != FOREVER and keep is None)
        ):
            message = f"retention {text!r}: {FORM}; statuses are {', '.join(sorted(FINAL))}"
            raise InvalidConfiguration(message)
        return cls(status=None if status is None else TaskStatus(status), kind=kind, keep=keep)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The rules together. What no rule fits is kept for ever."""

    rules: tuple[RetentionRule, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> RetentionPolicy:
        """Return the policy of these rules. Raises InvalidConfiguration."""
        return cls(tuple(RetentionRule.parse(text) for text in texts))

    def __bool__(self) -> bool:
        """Whether anything is ever dropped."""
        return any(rule.keep is not None for rule in self.rules)

    def keep(self, status: TaskStatus, kind: str) -> timedelta | None:
        """Return how long a task is kept after it has ended; None for ever."""
        fitting = [
            rule
            for rule in self.rules
            if rule.status in {None, status} and rule.kind in {None, kind}
        ]
        return max(fitting, key=lambda rule: rule.weight).keep if fitting else None

    @property
    def fires(self) -> timedelta | None:
        """How long it is kept what became of fires: as Completed tasks of no special kind are."""
        return self.keep(TaskStatus.COMPLETED, "")


def audit_span(text: str) -> timedelta | None:
    """Return how long the audit trail is kept; None for ever. Raises InvalidConfiguration."""
    keep = span_of(text)
    if keep is None and text != FOREVER:
        message = f"retention of the audit trail {text!r}: expected a span such as 400d, or forever"
        raise InvalidConfiguration(message)
    return keep


class Expiry(NamedTuple):
    """What one turn of retention did, or would do.

    ``days`` were dropped whole, with ``dropped`` tasks in them; ``deleted`` tasks were deleted one
    by one. With ``more``, another turn finds more to do at once.
    """

    days: Sequence[date] = ()
    dropped: int = 0
    deleted: int = 0
    more: bool = False


SPAN_FORM: Final = re.compile(r"([0-9]{1,7})([smhdw])", re.ASCII)
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
    parts = SPAN_FORM.fullmatch(text)
    if parts is None:
        return None
    span = int(parts[1]) * UNITS[parts[2]]
    return span if span <= SPAN_MAX else None
