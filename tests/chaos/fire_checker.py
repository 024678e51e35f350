"""The judge of the fires: of each schedule each nominal time has one task, and none came early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.chaos.checker import Verdict, Violation

SHOWN_EACH = 3
"""So many times are named of what went wrong with one schedule."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """When a schedule fires: first at ``first``, and then every ``step``."""

    first: datetime
    step: timedelta

    def times(self, until: datetime) -> set[datetime]:
        """Return the nominal times up to ``until``."""
        count = max(0, (until - self.first) // self.step + 1)
        return {self.first + number * self.step for number in range(count)}


@dataclass(frozen=True, kw_only=True)
class Fired:
    """A task that a schedule has stored: for which nominal time, and when it may begin.

    It may be stored before that time, where the clock stepped back in between; it waits for it.
    """

    schedule: str
    nominal: datetime
    execute_at: datetime


def judge_fires(
    beats: Mapping[str, Beat],
    fired: Iterable[Fired],
    *,
    until: datetime,
    let_go: Iterable[tuple[str, str]] = (),
) -> Verdict:
    """Say what is wrong with ``fired``, all that was stored when the store's clock was ``until``.

    Fires beyond that are allowed, for the clock may have been ahead, but each once only. ``let_go``
    are a schedule and an outcome for each fire that the ledger has and that stored nothing.
    """
    verdict = Verdict()
    tasks = list(fired)
    verdict.tasks = len(tasks)
    found = Counter((each.schedule, each.nominal) for each in tasks)
    for (schedule, nominal), count in found.items():
        if count > 1:
            _tell(verdict, "doubled", f"{schedule} stored {count} tasks for {nominal}")
        beat = beats.get(schedule)
        if beat is None or nominal < beat.first or (nominal - beat.first) % beat.step:
            _tell(verdict, "other", f"{schedule} fired for {nominal}, which is no time of it")
    for each in tasks:
        # The time for which it waits alone: a claim may look at the clock before it steps back, and
        # write down when it began after.
        if each.execute_at < each.nominal:
            early = each.nominal - each.execute_at
            said = f"{each.schedule} may begin {early} before {each.nominal}"
            _tell(verdict, "early", said)
    for schedule, beat in beats.items():
        missing = sorted(beat.times(until) - {at for name, at in found if name == schedule})
        if missing:
            named = ", ".join(at.isoformat() for at in missing[:SHOWN_EACH])
            _tell(verdict, "lost", f"{schedule} left out {len(missing)} times: {named}")
    for (schedule, outcome), count in Counter(let_go).items():
        _tell(verdict, "lost", f"{schedule}: {count} fires were {outcome}")
    return verdict


def _tell(verdict: Verdict, sort: str, text: str) -> None:
    verdict.violations.append(Violation(sort, text))
