"""Running what is due, now, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from taskscheduler.application.worker.worker import Worker
from taskscheduler.domain.status import Event
from taskscheduler.domain.verdicts import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.metrics.observer import Ran
    from taskscheduler.application.worker.handlers import Handlers


class Drained(NamedTuple):
    """How many attempts ended in which way, and how many tasks expired. It is false if none did."""

    completed: int = 0
    retried: int = 0
    snoozed: int = 0
    failed: int = 0
    cancelled: int = 0
    released: int = 0
    lost: int = 0
    expired: int = 0

    @property
    def attempts(self) -> int:
        """How many attempts there were in all: a task that expired had none."""
        return sum(self) - self.expired

    def __bool__(self) -> bool:
        """Whether anything ended."""
        return any(self)


FIELD: dict[Event | None, str] = {
    Event.COMPLETE: "completed",
    Event.RETRY: "retried",
    Event.SNOOZE: "snoozed",
    Event.FAIL: "failed",
    Event.CANCEL: "cancelled",
    Event.EXPIRE: "expired",
    Event.RELEASE: "released",
    Event.EXPIRE: "expired",
    None: "lost",
}


async def drain(
    scheduler: Scheduler, handlers: Handlers, *, queue: str = "default", raises: bool = True
) -> Drained:
    """Run every task of ``queue`` that is due, and what those schedule; return what they came to.

    What is due later stays: move the clock and drain again.

    What a handler raises, other than the verdicts, is raised here, once the tasks that were begun
    with it have ended and everything is stored; so is what is wrong with a payload that does not
    fit. With ``raises=False`` it is only counted, as a worker would.
    """
    counted = _Counted()
    raised: list[BaseException] = []
    worker = Worker(scheduler, handlers, queues=[queue], random=lambda: 0.0, observer=counted)
    worker.tell_of_errors(raised.append)
    try:
        async with handlers.opened():
            while await worker.turn() and not (raises and raised):
                pass
    finally:
        await worker.deregister()
    if raises and raised:
        _raise(raised)
    return counted.drained


def _raise(raised: Sequence[BaseException]) -> None:
    first, *others = raised
    if others:
        first.add_note(
            f"{len(others)} more attempts of the same turn raised, such as {in_words(others[0])}"
        )
    if isinstance(first, Exception):
        raise first
    # What would end the program, or close coroutines, is not for the test to end by.
    message = f"a handler raised {type(first).__name__}"
    raise RuntimeError(message) from first


class _Counted:
    """``Observer`` that counts outcomes."""

    def __init__(self) -> None:
        self.drained = Drained()

    def claimed(self, tasks: int) -> None:
        """See ``Observer.claimed``."""

    def ran(self, attempts: Sequence[Ran]) -> None:
        """See ``Observer.ran``."""
        for each in attempts:
            field = FIELD[each.event]
            now = getattr(self.drained, field)
            self.drained = self.drained._replace(**{field: now + 1})

    def faulted(self, part: str) -> None:
        """See ``Observer.faulted``."""

    def rescued(self, tasks: int) -> None:
        """See ``Observer.rescued``."""

    def fired(self, outcomes: Mapping[str, int]) -> None:
        """See ``Observer.fired``."""
