"""What ``TaskRepository.put`` promises of requests that have a name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.errors import IdempotencyConflict, TaskExists, TaskNotFound
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.query import TaskQuery
from taskscheduler.testing.contracts.steps import TICK, Contract, new, put
from taskscheduler.testing.contracts.unique_keys import KEY_LIVES

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

NAMED = Idempotency("request-1", b"contents")


class IdempotencyContract(Contract):
    """A request is heard once, however often it is made."""

    async def test_a_repeated_request_gets_the_first_answer(self, store: Store) -> None:
        """Its new ids are not stored."""
        first = [new(store), new(store)]
        ids = [task.id for task in first]
        assert list(await store.tasks.put(first, idempotency=NAMED)) == ids
        again = [new(store), new(store)]
        assert list(await store.tasks.put(again, idempotency=NAMED)) == ids
        with pytest.raises(TaskNotFound):
            await store.tasks.get(again[0].id)

    async def test_the_answer_names_who_held_a_unique_key(self, store: Store) -> None:
        """The first time and after."""
        holder = await put(store, unique_key="zoe")
        for _ in range(2):
            asked = [new(store, unique_key="zoe")]
            assert list(await store.tasks.put(asked, idempotency=NAMED)) == [holder]

    async def test_another_request_under_the_same_name_is_refused(self, store: Store) -> None:
        """And nothing is stored."""
        await store.tasks.put([new(store)], idempotency=NAMED)
        other = Idempotency(NAMED.key, b"other contents")
        with pytest.raises(IdempotencyConflict) as refused:
            await store.tasks.put([new(store)], idempotency=other)
        assert refused.value.key == NAMED.key
        assert len(await store.board.list(TaskQuery())) == 1

    async def test_other_names_are_other_requests(self, store: Store) -> None:
        """Whatever they ask for."""
        await store.tasks.put([new(store)], idempotency=NAMED)
        asked = new(store)
        other = Idempotency("request-2", NAMED.fingerprint)
        assert list(await store.tasks.put([asked], idempotency=other)) == [asked.id]

    async def test_a_request_that_failed_may_be_made_again(self, store: Store) -> None:
        """Its name was not taken."""
        taken = new(store, payload_json=b"1")
        await store.tasks.put([taken])
        contrary = type(taken)(id=taken.id, kind="mail", payload_json=b"2")
        with pytest.raises(TaskExists):
            await store.tasks.put([contrary], idempotency=NAMED)
        asked = new(store)
        assert list(await store.tasks.put([asked], idempotency=NAMED)) == [asked.id]

    async def test_a_name_lives_as_long_as_unique_keys(
        self, store: Store, clock: ManualClock
    ) -> None:
        """From the first request on; upkeep takes none that lives."""
        first = new(store)
        await store.tasks.put([first], idempotency=NAMED)
        clock.advance(KEY_LIVES - TICK)
        await store.upkeep.turn()
        assert list(await store.tasks.put([new(store)], idempotency=NAMED)) == [first.id]
        clock.advance(TICK)
        second = new(store)
        other = Idempotency(NAMED.key, b"other contents")
        assert list(await store.tasks.put([second], idempotency=other)) == [second.id]

    async def test_of_many_requests_at_once_one_is_the_first(self, store: Store) -> None:
        """All get its answer."""
        requests = [store.tasks.put([new(store)], idempotency=NAMED) for _ in range(6)]
        answers = [tuple(ids) for ids in await asyncio.gather(*requests)]
        (task,) = await store.board.list(TaskQuery())
        assert set(answers) == {(task.id,)}
