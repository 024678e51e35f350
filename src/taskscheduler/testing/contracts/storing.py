"""What ``TaskRepository.put`` and ``get`` promise."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from taskscheduler.application.client.task_batch import LazyBatch
from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import AuditQuery
from taskscheduler.domain.errors import InvalidTask, TaskExists, TaskNotFound
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.task import Task
from taskscheduler.domain.values import PAYLOAD_BYTES_MAX, TaskId
from taskscheduler.testing.contracts.steps import (
    Contract,
    bring,
    claim,
    join,
    new,
    put,
    status_of,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

PAYLOADS = [
    b"null",
    b'{"b": 1,  "a": [1.50, true]}',
    '{"to": "Zoë ✉ \U0001f4ec"}'.encode(),
    b'"\\u0000"',
    b"123456789012345678901234567890",
    b'{"a": 1, "a": 2}',
    b'"' + b"x" * (PAYLOAD_BYTES_MAX - 2) + b'"',
]
BAD = 4_321
SIZES = [1, 5, 40, 2_500]
"""Adapters may take other ways for one task, for some, and for many."""


class StoringContract(Contract):
    """Tasks are stored as they were asked for, all or none, and once however often asked."""

    async def test_a_stored_task_is_what_was_asked_for(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Every field comes back as the domain says it is stored."""
        asked = new(
            store,
            "mail.send:now-1_x",
            payload_json=b'{"to": "zoe"}',
            execute_at=clock.now() + timedelta(days=3, microseconds=7),
            queue="letters",
            priority=2,
            max_attempts=7,
            timeout=timedelta(minutes=3, microseconds=5),
            unique_key="zoe's",
        )
        assert await store.tasks.put([asked]) == [asked.id]
        assert await store.tasks.get(asked.id) == Task.store(asked, now=clock.now())

    async def test_what_is_left_out_stays_out(self, store: Store, clock: ManualClock) -> None:
        """A task of which only the kind is given is due now."""
        asked = new(store)
        await store.tasks.put([asked])
        task = await store.tasks.get(asked.id)
        assert task == Task.store(asked, now=clock.now())
        assert task.process_at == task.execute_at == task.created_at == clock.now()

    @pytest.mark.parametrize("payload", PAYLOADS, ids=lambda text: ascii(text[:20]))
    async def test_the_payload_is_kept_to_the_letter(self, store: Store, payload: bytes) -> None:
        """Its spelling is the producer's, in a task and in a lease."""
        worker_id = await join(store)
        task_id = await put(store, payload_json=payload)
        assert (await store.tasks.get(task_id)).payload_json == payload
        assert [lease.payload_json for lease in await claim(store, worker_id)] == [payload]

    async def test_ids_come_back_in_the_order_of_the_tasks(self, store: Store) -> None:
        """The order is the caller's, not that of ids or times."""
        tasks = [new(store, kind) for kind in ("mail", "fax", "mail", "pigeon")][::-1]
        assert await store.tasks.put(tasks) == [task.id for task in tasks]

    async def test_nothing_to_store_is_stored(self, store: Store) -> None:
        """An empty batch is no error."""
        assert list(await store.tasks.put([])) == []

    async def test_a_thousand_tasks_are_stored_at_once(self, store: Store) -> None:
        """A batch has no small limit."""
        tasks = [new(store) for _ in range(1000)]
        await store.tasks.put(tasks)
        listed = await store.board.list(TaskQuery(limit=1000))
        assert {task.id for task in listed} == {task.id for task in tasks}

    @pytest.mark.parametrize("number", SIZES)
    async def test_every_task_of_a_batch_is_what_was_asked_for(
        self, store: Store, clock: ManualClock, number: int
    ) -> None:
        """However many they are, and whether or not their neighbours ask for the same."""
        plain = [
            new(store, kind, payload_json=payload)
            for kind in ("mail", "fax")
            for payload in PAYLOADS[:-1]
        ]
        special = [
            new(store, priority=0, execute_at=clock.now() + timedelta(days=1, microseconds=1)),
            new(store, queue="letters", execute_at=datetime(1999, 12, 31, tzinfo=UTC)),
            new(store, max_attempts=3, timeout=timedelta(days=2, microseconds=5)),
            new(store, expires_at=clock.now() + timedelta(hours=1), by=Caller(name="ada")),
            new(store, payload_json=b'{"a\\\\b": "{\\"}, \\n,NULL"}'),
        ]
        asked = [*plain, *special][-number:]
        asked += [new(store) for _ in range(number - len(asked))]
        assert await store.tasks.put(asked) == [task.id for task in asked]
        for task in asked[:20]:
            assert await store.tasks.get(task.id) == Task.store(task, now=clock.now())
        told = [entry.task_id for entry in await store.audit.list(AuditQuery())]
        assert told == [task.id for task in asked if task.by is not None]
        assert await store.tasks.put(asked) == [task.id for task in asked]

    @pytest.mark.parametrize("number", SIZES)
    async def test_a_batch_with_a_taken_id_is_refused_whole(
        self, store: Store, number: int
    ) -> None:
        """Wherever in it that is."""
        taken = new(store, payload_json=b"1")
        await store.tasks.put([taken])
        asked = [new(store, by=Caller(name="ada")) for _ in range(number)]
        with pytest.raises(TaskExists) as refused:
            await store.tasks.put([*asked, taken.but(payload_json=b"2")])
        assert refused.value.task_id == taken.id
        assert [task.id for task in await store.board.list(TaskQuery())] == [taken.id]
        assert not await store.audit.list(AuditQuery())

    async def test_a_long_batch_may_be_of_many_kinds(self, store: Store) -> None:
        """Of some that no task had before, late in it."""
        asked = [new(store) for _ in range(2_400)]
        asked += [new(store, f"late-{number}", priority=number % 10) for number in range(20)]
        for _ in range(2):
            more = [*asked, new(store, "mail")]
            assert await store.tasks.put(more) == [task.id for task in more]
        for task in (asked[0], *asked[-20:]):
            stored = await store.tasks.get(task.id)
            assert (stored.kind, stored.priority) == (task.kind, task.priority)

    async def test_a_batch_that_cannot_be_read_to_its_end_is_not_stored(self, store: Store) -> None:
        """What reading it raises is raised, however much of it was on its way."""
        specs = [("mail" if index < BAD else "no kind", index) for index in range(BAD + 9)]
        with pytest.raises(InvalidTask) as refused:
            await store.tasks.put(LazyBatch(specs, store.new_task_id))
        assert refused.value.index == BAD
        assert list(await store.board.list(TaskQuery())) == []
        again = new(store)
        assert await store.tasks.put([again]) == [again.id]

    async def test_the_past_means_now(self, store: Store, clock: ManualClock) -> None:
        """What was asked for is remembered; what counts is now."""
        asked = new(store, execute_at=datetime(1999, 12, 31, 23, 59, tzinfo=UTC))
        await store.tasks.put([asked])
        task = await store.tasks.get(asked.id)
        assert task.execute_at == asked.execute_at
        assert task.process_at == clock.now()

    async def test_a_time_is_an_instant_whatever_its_offset(
        self, store: Store, clock: ManualClock
    ) -> None:
        """An offset says when, and is not kept."""
        moment = clock.now() + timedelta(days=1, microseconds=123_456)
        away = moment.astimezone(timezone(timedelta(hours=5, minutes=45)))
        task = await store.tasks.get(await put(store, execute_at=away))
        assert task.process_at == moment
        assert task.process_at.utcoffset() == timedelta(0)

    async def test_an_id_of_any_version_will_do(self, store: Store) -> None:
        """The library makes version 7; a caller may bring another."""
        for text in ("00000000-0000-0000-0000-000000000001", "f" * 32):
            asked = NewTask(id=TaskId(UUID(text)), kind="mail")
            await store.tasks.put([asked])
            assert (await store.tasks.get(asked.id)).id == asked.id

    @pytest.mark.parametrize("status", list(TaskStatus))
    async def test_storing_again_changes_nothing(
        self, store: Store, clock: ManualClock, status: TaskStatus
    ) -> None:
        """However far the task has come: a completed task is not run again."""
        asked = new(store, payload_json=b"[1]", priority=3, unique_key="only")
        if status is TaskStatus.PENDING:
            await store.tasks.put([asked])
        else:
            await bring(store, status, payload_json=b"[1]", priority=3, unique_key="only")
            (stored,) = await store.board.list(TaskQuery())
            asked = NewTask(
                id=stored.id, kind="mail", payload_json=b"[1]", priority=3, unique_key="only"
            )
        before = await store.tasks.get(asked.id)
        clock.advance(hours=1)
        assert await store.tasks.put([asked]) == [asked.id]
        assert await store.tasks.put([asked, asked]) == [asked.id, asked.id]
        assert await store.tasks.get(asked.id) == before

    async def test_the_same_task_twice_in_a_batch_is_stored_once(self, store: Store) -> None:
        """A batch may repeat itself."""
        asked, other = new(store), new(store)
        ids = await store.tasks.put([asked, other, asked])
        assert ids == [asked.id, other.id, asked.id]
        assert len(await store.board.list(TaskQuery())) == 2  # noqa: PLR2004

    async def test_the_same_task_at_once_is_stored_once(self, store: Store) -> None:
        """Two callers who store the same task both succeed."""
        asked = new(store)
        for ids in await asyncio.gather(*(store.tasks.put([asked]) for _ in range(5))):
            assert ids == [asked.id]
        assert len(await store.board.list(TaskQuery())) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"kind": "fax"},
            {"queue": "letters"},
            {"payload_json": b"[2]"},
            {"unique_key": "other"},
            {"unique_key": None},
            {"execute_at": datetime(2030, 1, 1, tzinfo=UTC)},
        ],
        ids=lambda change: next(iter(change)),
    )
    async def test_an_id_with_other_contents_is_refused(
        self, store: Store, clock: ManualClock, change: dict[str, Any]
    ) -> None:
        """And of its batch nothing is stored."""
        moment = clock.now() + timedelta(hours=1)
        fields: dict[str, Any] = {"kind": "mail", "payload_json": b"[1]", "unique_key": "key"}
        fields["execute_at"] = moment
        asked = new(store, **fields)
        await store.tasks.put([asked])
        before = await store.tasks.get(asked.id)
        bystanders = [new(store), new(store, unique_key="bystander")]
        changed = asked.but(**change)
        with pytest.raises(TaskExists) as refused:
            await store.tasks.put([bystanders[0], changed, bystanders[1]])
        assert refused.value.task_id == asked.id
        with pytest.raises(TaskExists):
            await store.tasks.put([changed])
        assert await store.board.list(TaskQuery()) == [before]
        # Nor is a key held by what was not stored.
        again = new(store, unique_key="bystander")
        assert await store.tasks.put([again]) == [again.id]

    async def test_a_batch_that_contradicts_itself_is_refused(self, store: Store) -> None:
        """One id, two contents: neither is stored."""
        asked = new(store, payload_json=b"1")
        other = NewTask(id=asked.id, kind="mail", payload_json=b"2")
        with pytest.raises(TaskExists):
            await store.tasks.put([asked, other])
        assert list(await store.board.list(TaskQuery())) == []

    async def test_a_task_that_is_not_there_is_not_found(self, store: Store) -> None:
        """The error says which."""
        task_id = store.new_task_id()
        with pytest.raises(TaskNotFound) as missing:
            await store.tasks.get(task_id)
        assert missing.value.task_id == task_id

    async def test_new_ids_differ(self, store: Store) -> None:
        """And are version 7, so that they sort by age."""
        ids = [store.new_task_id() for _ in range(1000)]
        assert len(set(ids)) == len(ids)
        assert ids == sorted(ids)
        assert {each.version for each in ids} == {7}

    async def test_a_stored_task_waits(self, store: Store) -> None:
        """It is Pending."""
        assert await status_of(store, await put(store)) is TaskStatus.PENDING
