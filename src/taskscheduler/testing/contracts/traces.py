"""What ``TaskRepository.put`` and ``traces_of`` promise of the traces that tasks belong to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import TaskExists
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.domain.trace import TraceContext
from taskscheduler.testing.contracts.steps import (
    ERROR,
    Contract,
    claim,
    end,
    lease_one,
    new,
    put,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store

TRACE: Final = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1,b=2")
OTHER: Final = TraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")


class TracesContract(Contract):
    """A task keeps the trace that it was stored with."""

    async def test_it_is_stored_with_its_task(self, store: Store) -> None:
        """Alone or among others, whoever asks; those without are left out."""
        alone = await put(store, trace=TRACE)
        by_ada = await put(store, trace=OTHER, by=Caller(name="ada"))
        without = await put(store)
        many = [
            new(store, trace=TRACE),
            new(store),
            new(store, trace=OTHER, by=Caller(name="ada")),
            new(store, trace=TRACE, unique_key="k"),
        ]
        ids = await store.tasks.put(many)
        named = await store.tasks.put(
            [new(store, trace=OTHER)], idempotency=Idempotency("request", b"1")
        )
        found = await store.tasks.traces_of(
            [alone, by_ada, without, *ids, *named, store.new_task_id()]
        )
        assert found == {
            alone: TRACE,
            by_ada: OTHER,
            ids[0]: TRACE,
            ids[2]: OTHER,
            ids[3]: TRACE,
            named[0]: OTHER,
        }
        assert await store.tasks.traces_of([]) == {}

    @pytest.mark.parametrize("number", [2, 2_500])
    async def test_it_is_stored_in_a_batch_of_any_size(self, store: Store, number: int) -> None:
        """Where none of them has a unique key, and stored once again."""
        many = [new(store) for _ in range(number - 1)]
        many.append(new(store, trace=TRACE))
        for _ in range(2):
            ids = await store.tasks.put(many)
            assert await store.tasks.traces_of(ids) == {many[-1].id: TRACE}

    async def test_the_rest_of_the_task_is_stored_as_ever(self, store: Store) -> None:
        """Each field in its place."""
        fields: dict[str, Any] = {
            "payload_json": b'{"to":"zoe"}',
            "queue": "mails",
            "priority": 2,
            "max_attempts": 7,
            "timeout": timedelta(seconds=9),
        }
        plain = new(store, **fields)
        traced = [new(store, trace=TRACE, **fields) for _ in range(3)]
        await store.tasks.put([plain])
        await store.tasks.put(traced[:1])
        await store.tasks.put(traced[1:])
        expected = await store.tasks.get(plain.id)
        for task in traced:
            found = await store.tasks.get(task.id)
            same = replace(
                found,
                id=plain.id,
                created_at=expected.created_at,
                execute_at=expected.execute_at,
                process_at=expected.process_at,
            )
            assert same == expected

    async def test_asking_again_replaces_none(self, store: Store) -> None:
        """Neither with the same id, nor with its key, nor in vain."""
        first = new(store, trace=TRACE, unique_key="k")
        await store.tasks.put([first])
        await store.tasks.put([first.but(trace=OTHER)])
        second = new(store, trace=OTHER, unique_key="k")
        assert await store.tasks.put([second]) == [first.id]
        plain = new(store)
        await store.tasks.put([plain])
        await store.tasks.put([plain.but(trace=OTHER)])
        with pytest.raises(TaskExists):
            await store.tasks.put([plain.but(trace=OTHER, payload_json=b"1")])
        assert await store.tasks.traces_of([first.id, second.id, plain.id]) == {first.id: TRACE}

    async def test_it_stays_through_every_change(self, store: Store) -> None:
        """Edited, tried again, failed, revived, completed."""
        lease = await lease_one(store, trace=TRACE)
        await end(store, lease, Event.RETRY, error=ERROR)
        task_id = lease.task_id
        await store.tasks.edit(task_id, TaskEdit(payload_json=b"1", priority=1))
        (again,) = await claim(store, (await store.workers.registered())[0].id)
        await end(store, again, Event.FAIL, error=ERROR)
        await store.tasks.retry(task_id)
        (last,) = await claim(store, (await store.workers.registered())[0].id)
        await end(store, last)
        assert await store.tasks.traces_of([task_id]) == {task_id: TRACE}

    async def test_it_goes_with_its_task(self, store: Store) -> None:
        """Alone or among many: who takes the id next has none of it."""
        deleted = await put(store, trace=TRACE)
        among_many = await put(store, trace=TRACE)
        await store.tasks.delete(deleted)
        await store.tasks.change_all(BulkVerb.DELETE, TaskStatus.PENDING, [among_many])
        gone = [deleted, among_many]
        assert await store.tasks.traces_of(gone) == {}
        await store.tasks.put([new(store).but(id=each) for each in gone])
        assert await store.tasks.traces_of(gone) == {}
