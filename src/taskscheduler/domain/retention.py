"""How long tasks that have ended are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.status import FINAL, TaskStatus
from taskscheduler.domain.task import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

SPAN: Final = re.compile(r"(\d{1,6})([smhdw])")
UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
FOREVER: Final = "forever"
FORM: Final = (
    "expected 30d (also s, m, h, w, or forever), with status:<status> or kind:<kind> or both "
    "before it: status:Failed,kind:Foo=90d"
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
        status, kind = chosen.pop("status", None), chosen.pop("kind", None)
        if (
            chosen
            or (status is not None and status not in FINAL)
            or (kind is not None and NAME.fullmatch(kind) is None)
            or (span != FOREVER and SPAN.fullmatch(span) is None)
        ):
            message = f"retention {text!r}: {FORM}; statuses are {', '.join(sorted(FINAL))}"
            raise InvalidConfiguration(message)
        keep = None
        if (parts := SPAN.fullmatch(span)) is not None:
            keep = int(parts[1]) * UNITS[parts[2]]
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


class Expiry(NamedTuple):
    """What one turn of retention did, or would do.

    ``days`` were dropped whole, with ``dropped`` tasks in them; ``deleted`` tasks were deleted one
    by one. With ``more``, another turn finds more to do at once.
    """

    days: Sequence[date] = ()
    dropped: int = 0
    deleted: int = 0
    more: bool = False
