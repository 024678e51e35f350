"""What ``TaskRepository.put`` promises of tasks that do something to the holder of their key."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.conflict import OnConflict, earlier_of
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import (
    ERROR,
    TICK,
    Contract,
    bring,
    claim,
    end,
    join,
    lease_one,
    new,
    put,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

HOUR = timedelta(hours=1)
KEY_LIVES = timedelta(days=1)
CHANGING = (OnConflict.REPLACE, OnConflict.DEBOUNCE)


class KeyConflictsContract(Contract):
    """A Pending holder gives way; any other loses the key to the new task."""

    async def test_kept_is_what_is_there(self, store: Store) -> None:
        """As without a word of it."""
        holder = await put(store, unique_key="k", payload_json=b"1")
        late = new(store, unique_key="k", payload_json=b"2", on_conflict="keep")
        assert await store.tasks.put([late]) == [holder]
        assert (await store.tasks.get(holder)).payload_json == b"1"

    @pytest.mark.parametrize("way", CHANGING)
    async def test_a_pending_holder_becomes_what_is_asked_for(
        self, store: Store, clock: ManualClock, way: OnConflict
    ) -> None:
        """In every field, under its own id, at its own place in the list."""
        at = clock.now() + HOUR
        holder = await put(
            store, unique_key="k", execute_at=at, max_attempts=7, tags=("a", "b"), payload_json=b"1"
        )
        before = await store.tasks.get(holder)
        clock.advance(TICK)
        fields: dict[str, Any] = {
            "payload_json": b'{"new":"\xc3\xbc"}',
            "queue": "letters",
            "priority": 2,
            "execute_at": at + HOUR,
            "timeout": timedelta(seconds=9),
            "expires_at": at + 2 * HOUR,
            "tags": ("b", "c"),
        }
        late = new(store, unique_key="k", on_conflict=way, **fields)
        assert await store.tasks.put([late]) == [holder]
        task = await store.tasks.get(holder)
        assert {name: getattr(task, name) for name in fields} == fields
        assert (task.id, task.created_at, task.unique_key) == (holder, before.created_at, "k")
        assert (task.process_at, task.max_attempts) == (at + HOUR, None)
        assert task.status is TaskStatus.PENDING
        assert [each.id for each in await store.board.list(TaskQuery(tag="c"))] == [holder]
        assert await store.board.list(TaskQuery(tag="a")) == []
        assert len(await store.board.list(TaskQuery())) == 1

    @pytest.mark.parametrize("way", CHANGING)
    async def test_without_a_time_it_is_due_now(
        self, store: Store, clock: ManualClock, way: OnConflict
    ) -> None:
        """And what is claimed then is the new payload, once."""
        holder = await put(store, unique_key="k", execute_at=clock.now() + HOUR, payload_json=b"1")
        await put(store, unique_key="k", on_conflict=way, payload_json=b"2", priority=1)
        worker_id = await join(store)
        (lease,) = await claim(store, worker_id)
        assert (lease.task_id, lease.payload_json, lease.priority) == (holder, b"2", 1)
        assert await claim(store, worker_id) == []

    @pytest.mark.parametrize("way", CHANGING)
    @pytest.mark.parametrize("status", [s for s in TaskStatus if s is not TaskStatus.PENDING])
    async def test_of_any_other_the_key_is_taken_over(
        self, store: Store, status: TaskStatus, way: OnConflict
    ) -> None:
        """What has begun is not changed, nothing is lost, and the next finds the new one."""
        holder = await bring(store, status, unique_key="k", payload_json=b"1")
        late = new(store, unique_key="k", on_conflict=way, payload_json=b"2")
        assert await store.tasks.put([late]) == [late.id]
        assert (await store.tasks.get(holder)).payload_json == b"1"
        assert (await store.tasks.get(holder)).status is status
        assert (await store.tasks.get(late.id)).payload_json == b"2"
        assert await put(store, unique_key="k") == late.id
        again = await put(store, unique_key="k", on_conflict=way, payload_json=b"3")
        assert again == late.id
        assert (await store.tasks.get(late.id)).payload_json == b"3"
        await store.tasks.delete(holder, force=True)
        assert await put(store, unique_key="k") == late.id

    async def test_attempts_that_it_has_had_stay(self, store: Store, clock: ManualClock) -> None:
        """One that waits for its next attempt is Pending, and goes on with the new contents."""
        lease = await lease_one(store, unique_key="k")
        await end(store, lease, Event.RETRY, delay=HOUR, error=ERROR)
        await put(store, unique_key="k", on_conflict="replace", payload_json=b"2")
        task = await store.tasks.get(lease.task_id)
        assert (task.attempt, task.process_at, task.payload_json) == (1, clock.now(), b"2")
        assert len(await store.board.attempts(lease.task_id)) == 1

    async def test_debouncing_ends_max_delay_after_the_first(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Counted from when it was stored, however often it is put off."""
        first = clock.now()
        fields: dict[str, Any] = {
            "unique_key": "k",
            "on_conflict": "debounce",
            "max_delay": timedelta(minutes=10),
        }
        holder = await put(store, execute_at=first + timedelta(minutes=3), **fields)
        times: list[timedelta] = []
        for _ in range(4):
            clock.advance(timedelta(minutes=2))
            later = clock.now() + timedelta(minutes=3)
            assert await put(store, execute_at=later, **fields) == holder
            times.append((await store.tasks.get(holder)).process_at - first)
        assert times == [timedelta(minutes=each) for each in (5, 7, 9, 10)]
        earlier = clock.now() + timedelta(minutes=1)
        await put(store, execute_at=earlier, **fields)
        assert (await store.tasks.get(holder)).execute_at == earlier

    async def test_debouncing_without_end(self, store: Store, clock: ManualClock) -> None:
        """The last one asked for counts, even a key's life after the first."""
        holder = await put(store, unique_key="k", execute_at=clock.now() + KEY_LIVES * 2)
        for _ in range(3):
            clock.advance(KEY_LIVES - TICK)
            at = clock.now() + KEY_LIVES * 2
            assert await put(store, unique_key="k", on_conflict="debounce", execute_at=at) == holder
            assert (await store.tasks.get(holder)).process_at == at
        clock.advance(KEY_LIVES)
        late = new(store, unique_key="k", on_conflict="debounce")
        assert await store.tasks.put([late]) == [late.id]

    @pytest.mark.parametrize("way", CHANGING)
    @pytest.mark.parametrize("status", [None, TaskStatus.PENDING, TaskStatus.IN_PROGRESS])
    async def test_within_a_batch_the_last_one_counts(
        self, store: Store, status: TaskStatus | None, way: OnConflict
    ) -> None:
        """One task answers for all, with the last contents and tags."""
        holder = None if status is None else await bring(store, status, unique_key="k")
        batch = [
            new(store, unique_key="k", on_conflict=way, payload_json=b"%d" % n, tags=(f"t{n}",))
            for n in range(3)
        ]
        other = new(store, unique_key="other", on_conflict=way)
        ids = await store.tasks.put([*batch, other])
        answers = holder if status is TaskStatus.PENDING else batch[0].id
        assert ids == [answers, answers, answers, other.id]
        task = await store.tasks.get(ids[0])
        assert (task.payload_json, task.tags) == (b"2", ("t2",))
        pending = await store.board.list(TaskQuery(status=TaskStatus.PENDING))
        assert {each.id for each in pending} == {answers, other.id}

    async def test_each_kind_has_its_own_keys(self, store: Store) -> None:
        """Another kind's holder is left alone."""
        fax = await put(store, "fax", unique_key="k", payload_json=b"1")
        late = new(store, unique_key="k", on_conflict="replace", payload_json=b"2")
        assert await store.tasks.put([late]) == [late.id]
        assert (await store.tasks.get(fax)).payload_json == b"1"

    async def test_a_repeated_task_changes_nothing(self, store: Store) -> None:
        """It answers for itself, whatever it was changed into."""
        first = new(store, unique_key="k", on_conflict="replace", payload_json=b"1")
        for _ in range(2):
            assert await store.tasks.put([first]) == [first.id]
        assert len(await store.board.list(TaskQuery())) == 1

    async def test_a_named_request_changes_once(self, store: Store) -> None:
        """Repeated, it is answered as the first time, places of earlier tasks included."""
        holder = await put(store, unique_key="k", payload_json=b"1")
        name = Idempotency("request", b"1")

        async def ask(payload: bytes) -> tuple[list[Any], frozenset[int]]:
            tasks = [
                new(store),
                new(store, unique_key="k", on_conflict="replace", payload_json=payload),
            ]
            ids = await store.tasks.put(tasks, idempotency=name)
            return list(ids), earlier_of(tasks, ids)

        first = await ask(b"2")
        assert first[1] == {1}
        await put(store, unique_key="k", on_conflict="replace", payload_json=b"3")
        assert await ask(b"2") == first
        assert (await store.tasks.get(holder)).payload_json == b"3"
        tasks = [new(store)]
        plain = Idempotency("plain", b"1")
        ids = await store.tasks.put(tasks, idempotency=plain)
        assert earlier_of(tasks, ids) == frozenset()
        again = [new(store)]
        assert earlier_of(again, await store.tasks.put(again, idempotency=plain)) == frozenset()

    async def test_who_changes_a_holder_is_written_down(self, store: Store) -> None:
        """As a change of it, not as the making of another."""
        holder = await put(store, unique_key="k", by=Caller(name="ada"))
        await put(store, unique_key="k", on_conflict="replace", by=Caller(name="bob"))
        entries = await store.audit.list(AuditQuery(limit=10))
        assert [(each.action, each.actor, each.task_id) for each in entries] == [
            (Action.CHANGED, "bob", holder),
            (Action.CREATED, "ada", holder),
        ]

    @pytest.mark.parametrize("way", CHANGING)
    async def test_of_many_at_once_one_task_comes(self, store: Store, way: OnConflict) -> None:
        """In whatever order they name their keys; its contents are those of one of them."""
        batches = [
            [
                new(
                    store,
                    unique_key=key,
                    on_conflict=way,
                    payload_json=b'"%s%d"' % (key.encode(), n),
                )
                for key in ("a", "b", "c")
            ][:: 1 if n % 2 else -1]
            for n in range(8)
        ]
        answers = await asyncio.gather(*(store.tasks.put(batch) for batch in batches))
        assert len({task_id for ids in answers for task_id in ids}) == len(batches[0])
        for task in await store.board.list(TaskQuery()):
            assert task.payload_json.decode()[1:-2] == task.unique_key
        assert len(await store.board.list(TaskQuery())) == len(batches[0])

    async def test_claims_and_replacements_at_once_lose_nothing(self, store: Store) -> None:
        """Of each, the contents that were asked for last are what is claimed last."""
        worker_id = await join(store)
        seen: list[bytes] = []

        async def ask() -> None:
            for n in range(20):
                await put(store, unique_key="k", on_conflict="replace", payload_json=b"%d" % n)

        async def work() -> None:
            while not seen or seen[-1] != b"19":
                for lease in await claim(store, worker_id):
                    await end(store, lease)
                    seen.append(lease.payload_json)
                await asyncio.sleep(0)

        async with asyncio.timeout(20):
            await asyncio.gather(ask(), work())
        assert seen == sorted(set(seen), key=int)
        assert await store.board.list(TaskQuery(status=TaskStatus.PENDING)) == []
