"""What ``TaskRepository.put`` promises of unique keys."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.errors import TaskNotFound
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing.contracts.steps import TICK, Contract, bring, new, put

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

KEY_LIVES = timedelta(days=1)


class UniqueKeyContract(Contract):
    """A key is held from the first task of its kind that brings it until its time is up."""

    async def test_the_holder_answers_for_those_after_it(self, store: Store) -> None:
        """Whatever else they ask for; they are not stored."""
        holder = await put(store, unique_key="zoe", payload_json=b"1")
        late = new(store, unique_key="zoe", payload_json=b"2", priority=0, queue="letters")
        assert await store.tasks.put([late]) == [holder]
        with pytest.raises(TaskNotFound):
            await store.tasks.get(late.id)
        assert len(await store.board.list(TaskQuery())) == 1

    async def test_the_others_of_the_batch_are_stored(self, store: Store) -> None:
        """A held key is no error."""
        holder = await put(store, unique_key="zoe")
        batch = [new(store), new(store, unique_key="zoe"), new(store, unique_key="max")]
        assert await store.tasks.put(batch) == [batch[0].id, holder, batch[2].id]

    async def test_within_a_batch_the_first_holds_the_key(self, store: Store) -> None:
        """The rest of the batch is answered with it."""
        batch = [new(store, unique_key="zoe", payload_json=b"%d" % n) for n in range(3)]
        assert await store.tasks.put(batch) == [batch[0].id] * 3
        assert [task.payload_json for task in await store.board.list(TaskQuery())] == [b"0"]

    async def test_each_kind_has_its_own_keys(self, store: Store) -> None:
        """The same key names another task there."""
        batch = [new(store, kind, unique_key="zoe") for kind in ("mail", "fax")]
        assert await store.tasks.put(batch) == [task.id for task in batch]

    async def test_keys_differ_by_every_character(self, store: Store) -> None:
        """No folding, no trimming, no cutting."""
        keys = ["zoe", "Zoe", "zoe ", " zoe", "zoë", "zoe\u0308", "z" * 511, "z" * 512]
        batch = [new(store, unique_key=key) for key in keys]
        assert await store.tasks.put(batch) == [task.id for task in batch]

    @pytest.mark.parametrize("status", list(TaskStatus))
    async def test_the_key_is_held_whatever_becomes_of_the_task(
        self, store: Store, status: TaskStatus
    ) -> None:
        """Beyond completion, too."""
        holder = await bring(store, status, unique_key="zoe")
        assert await put(store, unique_key="zoe") == holder

    async def test_the_key_is_let_go_when_its_time_is_up(
        self, store: Store, clock: ManualClock
    ) -> None:
        """From then on another task holds it, for as long again."""
        first = await put(store, unique_key="zoe")
        clock.advance(KEY_LIVES - TICK)
        assert await put(store, unique_key="zoe") == first
        clock.advance(TICK)
        second = await put(store, unique_key="zoe")
        assert second != first
        clock.advance(KEY_LIVES - TICK)
        assert await put(store, unique_key="zoe") == second

    async def test_asking_again_does_not_prolong_the_key(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Neither with a new task nor with the holder itself."""
        holder = new(store, unique_key="zoe")
        await store.tasks.put([holder])
        clock.advance(KEY_LIVES / 2)
        await store.tasks.put([holder, new(store, unique_key="zoe")])
        clock.advance(KEY_LIVES / 2)
        await store.tasks.put([holder])
        second = new(store, unique_key="zoe")
        assert await store.tasks.put([second]) == [second.id]

    async def test_a_repeated_task_answers_for_itself(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Even when another has held its key since."""
        first = new(store, unique_key="zoe")
        await store.tasks.put([first])
        clock.advance(KEY_LIVES)
        second = await put(store, unique_key="zoe")
        assert await store.tasks.put([first]) == [first.id]
        assert await put(store, unique_key="zoe") == second

    @pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.COMPLETED])
    async def test_the_key_is_let_go_when_the_task_is_deleted(
        self, store: Store, status: TaskStatus
    ) -> None:
        """The next to ask holds it."""
        first = await bring(store, status, unique_key="zoe")
        await store.tasks.delete(first)
        second = new(store, unique_key="zoe")
        assert await store.tasks.put([second]) == [second.id]

    async def test_deleting_a_former_holder_leaves_the_key(
        self, store: Store, clock: ManualClock
    ) -> None:
        """It is another's by then."""
        first = await put(store, unique_key="zoe")
        clock.advance(KEY_LIVES)
        second = await put(store, unique_key="zoe")
        await store.tasks.delete(first)
        assert await put(store, unique_key="zoe") == second

    async def test_one_of_many_at_once_holds_the_key(self, store: Store) -> None:
        """All are answered with its id."""
        batches = [
            [new(store, unique_key="b"), new(store, unique_key="a")][:: 1 if n % 2 else -1]
            for n in range(6)
        ]
        answers = await asyncio.gather(*(store.tasks.put(batch) for batch in batches))
        held = {
            (task.unique_key, holder)
            for batch, ids in zip(batches, answers, strict=True)
            for task, holder in zip(batch, ids, strict=True)
        }
        stored = {(task.unique_key, task.id) for task in await store.board.list(TaskQuery())}
        assert held == stored
        assert len(held) == 2  # noqa: PLR2004

    async def test_upkeep_drops_no_living_key(self, store: Store, clock: ManualClock) -> None:
        """Only those whose time is up."""
        old = await put(store, unique_key="old")
        clock.advance(KEY_LIVES / 2)
        young = await put(store, unique_key="young")
        clock.advance(KEY_LIVES / 2)
        await store.upkeep.turn()
        assert await put(store, unique_key="young") == young
        assert await put(store, unique_key="old") != old
