"""What ``KindCatalogue`` promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from taskscheduler.domain.status import Event
from taskscheduler.testing.contracts.steps import Contract, claim, end, join, put

if TYPE_CHECKING:
    from taskscheduler.application.store import Store


class KindCatalogueContract(Contract):
    """A kind is known once anybody has registered a handler for it."""

    async def test_no_kind_is_known_at_first(self, store: Store) -> None:
        """Storing a task makes none known."""
        await put(store, "pigeon")
        assert await store.kinds.known() == frozenset()

    async def test_what_was_registered_is_known(self, store: Store) -> None:
        """Once, however often; and what a worker handles is, for ever."""
        await store.kinds.register({"mail": 3, "fax": 1})
        await store.kinds.register({"fax": 2})
        await store.kinds.register({})
        worker_id = await join(store, "pigeon")
        await store.workers.deregister(worker_id)
        assert await store.kinds.known() == {"mail", "fax", "pigeon"}

    async def test_many_may_register_at_once(self, store: Store) -> None:
        """In any order."""
        kinds = {f"kind-{number}": 3 for number in range(20)}
        backwards = dict(reversed(kinds.items()))
        await asyncio.gather(*(store.kinds.register(k) for k in (kinds, backwards) * 3))
        assert await store.kinds.known() == kinds.keys()

    async def test_the_attempts_granted_last_hold(self, store: Store) -> None:
        """For tasks that do not bring their own."""
        worker_id = await join(store, attempts=5)
        task_id = await put(store)
        (lease,) = await claim(store, worker_id)
        await end(store, lease, Event.FAIL)
        await store.kinds.register({"mail": 1})
        assert (await store.tasks.retry(task_id)).max_attempts == 2  # noqa: PLR2004
