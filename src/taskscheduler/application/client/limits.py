"""Limits, as embedders, HTTP and the command line put them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.application.client.task_batch import only_known
from taskscheduler.domain.errors import LimitChanged, LimitNotFound
from taskscheduler.domain.limit import Limit, LimitUse
from taskscheduler.domain.values import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.limit import StoredLimit

LIST_LIMIT_DEFAULT: Final = 100
RACES_MAX: Final = 5
EDITABLE: Final = (
    "queue",
    "kind",
    "group",
    "per_group",
    "concurrency",
    "rate",
    "burst",
    "weight",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitInUse:
    """A limit as it is kept, and how it is used at this look."""

    stored: StoredLimit
    use: LimitUse

    @property
    def name(self) -> str:
        """What it is called."""
        return self.stored.name

    @property
    def definition(self) -> Limit:
        """What it is."""
        return self.stored.definition


class Limits:
    """The limits of one store. They hold for all workers, from the next claim on."""

    def __init__(self, store: Store, by: Caller | None = None) -> None:
        """Work on ``store``, in the name of ``by``."""
        self._store = store
        self._by = by

    async def put(
        self, limit: Limit, *, expected: StoredLimit | None = None
    ) -> tuple[LimitInUse, bool]:
        """Make the limit, or let the one of that name be so; return it, and whether it is new.

        Tasks that run go on: a lower limit holds as they end. With ``expected``, a limit as it was
        returned, nothing is changed if it is different by now.

        Raises:
            LimitChanged: it is not as ``expected``.
            LimitNotFound: there is none, and one was ``expected``.
        """
        stored, made = await self._store.limits.put(limit, expected=expected, by=self._by)
        self._wake(stored.definition)
        return await self._in_use(stored), made

    async def get(self, name: str) -> LimitInUse:
        """Return the limit. Raises LimitNotFound."""
        if NAME.fullmatch(name) is None:  # not every store could look for it
            raise LimitNotFound(name)
        return await self._in_use(await self._store.limits.get(name))

    async def list(
        self, *, after: str = "", limit: int = LIST_LIMIT_DEFAULT
    ) -> Sequence[LimitInUse]:
        """Return up to ``limit`` limits, those whose names come after ``after``, by name."""
        found = await self._store.limits.list(after=after, limit=limit)
        uses = await self._store.limits.uses([each.name for each in found])
        return [LimitInUse(stored=each, use=uses.get(each.name, LimitUse(0, 0))) for each in found]

    async def edit(
        self, name: str, *, expected: StoredLimit | None = None, **changes: Any
    ) -> LimitInUse:
        """Change some fields of ``Limit``, but not the name.

        Raises:
            InvalidLimit: it cannot be so.
            LimitNotFound: there is none.
            LimitChanged: it is not as ``expected``.
        """
        only_known(changes, EDITABLE)
        for _ in range(RACES_MAX):
            old = (await self.get(name)).stored
            if expected is not None and old != expected:
                break
            try:
                return (await self.put(old.definition.but(**changes), expected=old))[0]
            except LimitChanged:
                continue
        raise LimitChanged(name)

    async def delete(self, name: str, *, expected: StoredLimit | None = None) -> None:
        """Remove the limit. Raises LimitNotFound, LimitChanged."""
        stored = (await self.get(name)).stored
        await self._store.limits.delete(name, expected=expected, by=self._by)
        self._wake(stored.definition)

    async def _in_use(self, stored: StoredLimit) -> LimitInUse:
        uses = await self._store.limits.uses([stored.name])
        return LimitInUse(stored=stored, use=uses.get(stored.name, LimitUse(0, 0)))

    def _wake(self, limit: Limit) -> None:
        """Let workers look at once; of all queues they look again within half a second."""
        if limit.queue is not None:
            self._store.wakeups.ring({limit.queue})
