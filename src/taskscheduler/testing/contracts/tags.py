"""What ``TaskRepository.put`` and ``TaskReader.list`` promise of tags."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.domain.trace import TraceContext
from taskscheduler.testing.contracts.steps import (
    ERROR,
    Contract,
    bring,
    claim,
    end,
    lease_one,
    new,
    put,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import TaskId

TRACE = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


async def found(store: Store, **fields: Any) -> list[TaskId]:
    """Return the ids of the tasks that a query finds."""
    return [task.id for task in await store.board.list(TaskQuery(**fields))]


class TagsContract(Contract):
    """A task keeps the tags that it was stored with, and is found by each of them."""

    async def test_they_are_stored_with_their_task(self, store: Store) -> None:
        """Alone or among others, whoever asks, in the order given; those without have none."""
        alone = await put(store, tags=("b", "a"))
        by_ada = await put(store, tags=["x:1.2_-"], by=Caller(name="ada"), trace=TRACE)
        without = await put(store)
        many = [
            new(store, tags=("a",)),
            new(store),
            new(store, tags=("NULL", "null", "A"), by=Caller(name="ada")),
            new(store, tags=("a", "b"), unique_key="k"),
        ]
        ids = await store.tasks.put(many)
        named = await store.tasks.put(
            [new(store, tags=("n",))], idempotency=Idempotency("request", b"1")
        )
        expected = {
            alone: ("b", "a"),
            by_ada: ("x:1.2_-",),
            without: (),
            ids[0]: ("a",),
            ids[1]: (),
            ids[2]: ("NULL", "null", "A"),
            ids[3]: ("a", "b"),
            named[0]: ("n",),
        }
        assert {each: (await store.tasks.get(each)).tags for each in expected} == expected
        assert {t.id: t.tags for t in await store.board.list(TaskQuery())} == expected

    @pytest.mark.parametrize("number", [2, 2_500])
    async def test_they_are_stored_in_a_batch_of_any_size(self, store: Store, number: int) -> None:
        """And stored once, however often that is asked for."""
        many = [new(store) for _ in range(number - 1)]
        many.append(new(store, tags=("last", "of-all")))
        for _ in range(2):
            await store.tasks.put(many)
            assert await found(store, tag="of-all") == [many[-1].id]

    async def test_the_rest_of_the_task_is_stored_as_ever(self, store: Store) -> None:
        """Each field in its place."""
        fields: dict[str, Any] = {
            "payload_json": b'{"to":"zoe"}',
            "queue": "mails",
            "priority": 2,
            "max_attempts": 7,
            "timeout": timedelta(seconds=9),
        }
        plain, tagged = new(store, **fields), new(store, tags=("a",), **fields)
        await store.tasks.put([plain])
        await store.tasks.put([tagged])
        expected, stored = [await store.tasks.get(each.id) for each in (plain, tagged)]
        same = replace(
            stored,
            id=plain.id,
            created_at=expected.created_at,
            execute_at=expected.execute_at,
            process_at=expected.process_at,
            tags=(),
        )
        assert same == expected

    async def test_asking_again_changes_none(self, store: Store) -> None:
        """Neither with the same id nor with its key."""
        first = new(store, tags=("a",), unique_key="k")
        await store.tasks.put([first])
        await store.tasks.put([first])
        second = new(store, tags=("b",), unique_key="k")
        assert await store.tasks.put([second]) == [first.id]
        await store.tasks.put([first.but(tags=("b", "c"))])
        assert (await store.tasks.get(first.id)).tags == ("a",)
        assert await found(store, tag="b") == []

    async def test_each_tag_finds_its_tasks(self, store: Store) -> None:
        """Newest first, each once, exactly that name; several are alternatives."""
        a, ab, b, c = [
            await put(store, tags=tags) for tags in (("a",), ("a", "b"), ("b",), ("c", "A", "aa"))
        ]
        await put(store)
        assert await found(store, tag="a") == [ab, a]
        assert await found(store, tag=["a", "b"]) == [b, ab, a]
        assert await found(store, tag=["c", "a"]) == [c, ab, a]
        assert await found(store, tag="d") == []

    async def test_every_other_field_holds_as_well(self, store: Store) -> None:
        """Whatever the status, the kind or the queue."""
        by_status = {
            status: await bring(store, status, tags=("t",), queue="default")
            for status in TaskStatus
            if status is not TaskStatus.PENDING
        }
        by_status[TaskStatus.PENDING] = await put(store, tags=("t",))
        fax = await put(store, "fax", tags=("t", "u"))
        elsewhere = await put(store, queue="letters", tags=("t",))
        await put(store, "fax")
        for status, task_id in by_status.items():
            mails = {"tag": "t", "kind": "mail", "queue": "default"}
            assert await found(store, status=status, **mails) == [task_id]
        assert await found(store, tag="t", kind="fax") == [fax]
        assert await found(store, tag=["t", "u"], queue=["letters"]) == [elsewhere]
        assert await found(store, tag="t", queue_prefix="let") == [elsewhere]
        assert await found(store, tag="t", kind="telex") == []

    async def test_pages_neither_skip_nor_repeat(self, store: Store) -> None:
        """By the id of the last one, as without tags; what was stored meanwhile is newer."""
        ids = [
            await put(store, tags=("a", "b") if n % 2 else ("b",), payload_json=b'"%d"' % n)
            for n in range(7)
        ][::-1]
        seen: list[TaskId] = []
        before = None
        while page := await store.board.list(TaskQuery(tag=["a", "b"], before=before, limit=3)):
            seen += [task.id for task in page]
            before = page[-1].id
            await put(store, tags=("a",))
        assert seen == ids
        states = await store.board.states(TaskQuery(tag="a", before=ids[0], limit=2))
        assert [state.id for state in states] == ids[1:5:2]

    async def test_a_page_ends_by_its_payloads(self, store: Store) -> None:
        """As any other."""
        ids = [await put(store, tags=("a",), payload_json=b'"%s"' % (b"x" * 100)) for _ in range(4)]
        page = await store.board.list(TaskQuery(tag="a", bytes_max=150))
        assert [task.id for task in page] == ids[::-1][:2]

    async def test_they_stay_through_every_change(self, store: Store) -> None:
        """Edited, tried again, failed, revived, completed."""
        lease = await lease_one(store, tags=("a", "b"))
        task_id = lease.task_id
        (worker,) = await store.workers.registered()
        await end(store, lease, Event.RETRY, error=ERROR)
        await store.tasks.edit(task_id, TaskEdit(payload_json=b"1", priority=1))
        (again,) = await claim(store, worker.id)
        await end(store, again, Event.FAIL, error=ERROR)
        await store.tasks.retry(task_id)
        (last,) = await claim(store, worker.id)
        await end(store, last)
        assert (await store.tasks.get(task_id)).tags == ("a", "b")
        assert await found(store, tag="b", status=TaskStatus.COMPLETED) == [task_id]

    async def test_they_go_with_their_task(self, store: Store) -> None:
        """Alone or among many: who takes the id next has none of them."""
        gone = [await put(store, tags=("a",)) for _ in range(2)]
        await store.tasks.delete(gone[0])
        await store.tasks.change_all(BulkVerb.DELETE, TaskStatus.PENDING, gone[1:])
        await store.tasks.put([new(store).but(id=each) for each in gone])
        assert await found(store, tag="a") == []
        assert [(await store.tasks.get(each)).tags for each in gone] == [(), ()]
