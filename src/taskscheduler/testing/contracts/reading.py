"""What ``TaskReader`` promises of lists and histories."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from taskscheduler.domain.change import TaskState
from taskscheduler.domain.lease import Attempt, AttemptError
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.query import TaskQuery, fitting
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.values import TaskId
from taskscheduler.testing.contracts.steps import (
    ERROR,
    LEASE,
    TICK,
    Contract,
    bring,
    claim,
    end,
    join,
    lease_again,
    lease_one,
    new,
    put,
    subscribed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.task import Task
    from taskscheduler.testing.clock import ManualClock

KINDS = ("mail", "fax")
QUEUES = ("default", "letters")


async def all_sorts(store: Store) -> list[Task]:
    """Store tasks of every kind, queue and status; return them, newest first."""
    worker_id = await join(store, *KINDS)
    events = {
        TaskStatus.COMPLETED: Event.COMPLETE,
        TaskStatus.FAILED: Event.FAIL,
        TaskStatus.CANCELLED: Event.CANCEL,
    }
    ids = [
        (await put(store, kind, queue=queue), status, kind, queue)
        for _ in range(2)
        for status in TaskStatus
        for kind in KINDS
        for queue in QUEUES
    ]
    wanted = {task_id: status for task_id, status, _, _ in ids}
    for kind in KINDS:
        for queue in QUEUES:
            subscription = subscribed(kind, queues=[queue])
            for lease in await store.tasks.claim(worker_id, subscription, 100):
                status = wanted[lease.task_id]
                if status is TaskStatus.PENDING:
                    await end(store, lease, Event.RELEASE)
                elif status in events:
                    await end(store, lease, events[status])
    return sorted([await store.tasks.get(task_id) for task_id in wanted], key=lambda task: task.id)[
        ::-1
    ]


class ListingContract(Contract):
    """Lists are filtered, newest first, page after page; histories are whole."""

    async def test_an_empty_store_has_an_empty_list(self, store: Store) -> None:
        """Under any filter."""
        assert list(await store.board.list(TaskQuery())) == []
        query = TaskQuery(status=TaskStatus.FAILED, kind="mail", queue="letters")
        assert list(await store.board.list(query)) == []

    async def test_all_filters_must_hold(self, store: Store) -> None:
        """In every combination, newest id first."""
        tasks = await all_sorts(store)
        for status in (None, *TaskStatus):
            for kind in (None, *KINDS, "pigeon", "MAIL"):
                for queue in (None, *QUEUES, "parcels"):
                    query = TaskQuery(status=status, kind=kind, queue=queue)
                    expected = [
                        task
                        for task in tasks
                        if status in {None, task.status}
                        and kind in {None, task.kind}
                        and queue in {None, task.queue}
                    ]
                    assert list(await store.board.list(query)) == expected, query

    async def test_values_of_one_field_are_alternatives(self, store: Store) -> None:
        """In every combination of fields, with and without a prefix of the queue."""
        tasks = await all_sorts(store)
        some: Sequence[Sequence[TaskStatus] | None] = [
            None,
            *combinations(TaskStatus, 2),
            [TaskStatus.PENDING, TaskStatus.COMPLETED, TaskStatus.FAILED],
            list(TaskStatus),
        ]
        for statuses in some:
            for kinds in (None, ("mail", "fax"), ("fax", "pigeon")):
                for queues, prefix in ((None, None), (("letters", "parcels"), "let")):
                    query = TaskQuery(
                        status=statuses, kind=kinds, queue=queues, queue_prefix=prefix
                    )
                    expected = [
                        task
                        for task in tasks
                        if (statuses is None or task.status in statuses)
                        and (kinds is None or task.kind in kinds)
                        and (queues is None or task.queue in queues)
                    ]
                    assert list(await store.board.list(query)) == expected, query
                    states = await store.board.states(query)
                    assert [state.id for state in states] == [task.id for task in expected]

    async def test_a_list_ends_where_its_payloads_grow_too_long(self, store: Store) -> None:
        """With the first that is too much, however a payload is kept; and at its limit."""
        # Some are kept as they are, some apart from their row, some packed, some both.
        plain, packed = b'"' + b"x" * 900 + b'"', b"[" + b" " * 9_000 + b"]"
        mixed = b'"' + bytes(random.Random(7).choices(b"0123456789abcdef", k=9_000)) + b'"'
        for payload in (plain, packed, mixed, plain, packed, mixed):
            await put(store, payload_json=payload)
        tasks = await store.board.list(TaskQuery())
        sizes = [len(task.payload_json) for task in tasks]
        for limit in (2, 100):
            for number in range(1, len(tasks)):
                for room in (sum(sizes[:number]), sum(sizes[:number]) - 1):
                    found = await store.board.list(TaskQuery(bytes_max=room, limit=limit))
                    fit = number if room == sum(sizes[:number]) else number - 1
                    assert list(found) == list(tasks[: len(found)])
                    # A store may take a payload for some bytes shorter than it is.
                    assert min(fit + 1, limit) <= len(found) <= min(fit + 2, limit), (limit, number)
                    page = fitting(found, limit=limit, bytes_max=room)
                    assert len(page) == min(max(fit, 1), limit)
        assert list(await store.board.list(TaskQuery(bytes_max=0))) == [tasks[0]]

    async def test_queues_by_the_beginning_of_their_names(self, store: Store) -> None:
        """Together with any other filter; letter case and wildcards are plain text."""
        tasks = await all_sorts(store)
        for prefix in ("", "l", "letters", "letters2", "e", "L", "%", "_"):
            for status in (None, TaskStatus.PENDING, TaskStatus.COMPLETED):
                for queue in (None, "letters"):
                    query = TaskQuery(status=status, queue=queue, queue_prefix=prefix)
                    expected = [
                        task
                        for task in tasks
                        if status in {None, task.status}
                        and queue in {None, task.queue}
                        and task.queue.startswith(prefix)
                    ]
                    assert list(await store.board.list(query)) == expected, query

    @pytest.mark.parametrize("kind", [None, "mail"])
    @pytest.mark.parametrize("status", [None, TaskStatus.PENDING, TaskStatus.COMPLETED])
    async def test_pages_neither_skip_nor_repeat(
        self, store: Store, status: TaskStatus | None, kind: str | None
    ) -> None:
        """While others store tasks."""
        query = TaskQuery(status=status, kind=kind, limit=1000)
        await all_sorts(store)
        expected = list(await store.board.list(query))
        pages: list[Task] = []
        query = replace(query, limit=3)
        while page := await store.board.list(query):
            assert len(page) <= query.limit
            pages += page
            query = replace(query, before=page[-1].id)
            await put(store)
        assert pages == expected

    async def test_no_more_than_the_limit(self, store: Store) -> None:
        """The newest are kept."""
        tasks = [new(store) for _ in range(5)]
        await store.tasks.put(tasks)
        listed = await store.board.list(TaskQuery(limit=2))
        assert [task.id for task in listed] == [tasks[4].id, tasks[3].id]

    async def test_the_cursor_is_any_id(self, store: Store) -> None:
        """Also one that no task has, and the smallest and largest there are."""
        tasks = [new(store) for _ in range(3)]
        await store.tasks.put(tasks)
        ids = [task.id for task in tasks][::-1]
        for before, expected in (
            (UUID(int=2**128 - 1), ids),
            (UUID(int=ids[0].int + 1), ids),
            (ids[1], ids[2:]),
            (UUID(int=0), []),
        ):
            listed = await store.board.list(TaskQuery(before=before))
            assert [task.id for task in listed] == expected

    async def test_ids_that_bear_no_time_come_last(self, store: Store) -> None:
        """However many: nobody's newest tasks are hidden behind them, in lists or in states."""
        strange = [UUID(int=each << 112 | 4 << 76 | 2 << 62) for each in (0xFFFF, 0xEEEE, 0xDDDD)]
        ahead = UUID(int=store.new_task_id().int + (40 * 86_400_000 << 80))
        first = [TaskId(each) for each in (*strange, ahead)]
        await store.tasks.put([NewTask(id=each, kind="mail") for each in first])
        own = [await put(store) for _ in range(3)]
        expected = [*reversed(own), *first]
        for status in (None, TaskStatus.PENDING):
            for kind in (None, "mail"):
                for limit in (2, 3, 4, 100):
                    query = TaskQuery(status=status, kind=kind, limit=limit)
                    found = list(await store.board.states(query))
                    assert [state.id for state in found] == expected[:limit]
                    pages: list[TaskId] = []
                    while page := await store.board.list(query):
                        pages += [task.id for task in page]
                        query = replace(query, before=pages[-1])
                    assert pages == expected

    async def test_states_are_those_of_the_tasks(self, store: Store) -> None:
        """By id, or as the list has them; what is not there is left out."""
        ids = [await bring(store, status) for status in reversed(TaskStatus)]
        tasks = await store.board.list(TaskQuery())
        wanted = [TaskState.of(task) for task in tasks]
        assert len({state.status for state in wanted}) == len(TaskStatus)
        for query, expected in (
            (TaskQuery(), wanted),
            (TaskQuery(queue="default", kind="mail", limit=2), wanted[:2]),
            (TaskQuery(queue_prefix="def"), wanted),
            (TaskQuery(queue_prefix="x"), []),
            (TaskQuery(kind="fax"), []),
            (TaskQuery(status=TaskStatus.FAILED), [s for s in wanted if s.status == "Failed"]),
            (TaskQuery(before=wanted[2].id), wanted[3:]),
            (TaskQuery(before=UUID(int=0)), []),
        ):
            assert list(await store.board.states(query)) == expected
        asked = [ids[0], ids[4], ids[4], store.new_task_id()]
        found = await store.board.states(TaskQuery(), asked)
        assert sorted(found) == sorted(each for each in wanted if each.id in asked)

    # -- attempts --------------------------------------------------------------------------------

    async def test_an_unknown_task_has_no_attempts(self, store: Store) -> None:
        """Nor has one that waits."""
        assert list(await store.board.attempts(store.new_task_id())) == []
        assert list(await store.board.attempts(await put(store))) == []

    async def test_attempts_are_told_oldest_first(self, store: Store, clock: ManualClock) -> None:
        """With their errors; the running one included."""
        started_at = clock.now()
        lease = await lease_one(store)
        worker_id = (await store.tasks.get(lease.task_id)).worker_id
        clock.advance(seconds=1)
        await end(store, lease, Event.RETRY, error=ERROR)
        first = Attempt(
            number=1,
            started_at=started_at,
            finished_at=clock.now(),
            outcome=Event.RETRY,
            worker_id=worker_id,
            error=ERROR,
        )
        other_id = await join(store)
        clock.advance(seconds=1)
        lease = await lease_again(store, other_id)
        running = Attempt(
            number=2,
            started_at=clock.now(),
            finished_at=None,
            outcome=None,
            worker_id=other_id,
        )
        assert list(await store.board.attempts(lease.task_id)) == [first, running]
        clock.advance(seconds=1)
        await end(store, lease)
        second = replace(running, finished_at=clock.now(), outcome=Event.COMPLETE)
        assert list(await store.board.attempts(lease.task_id)) == [first, second]

    @pytest.mark.parametrize("last", [None, Event.COMPLETE, Event.FAIL])
    async def test_attempts_are_told_a_page_at_a_time(
        self, store: Store, last: Event | None
    ) -> None:
        """The newest that are asked for; the last may still run, or have completed."""
        lease = await lease_one(store, max_attempts=9)
        worker_id = await join(store)
        for _ in range(4):
            await end(store, lease, Event.RETRY, error=ERROR)
            lease = await lease_again(store, worker_id)
        if last is not None:
            await end(store, lease, last)
        whole = list(await store.board.attempts(lease.task_id))
        assert [each.number for each in whole] == [1, 2, 3, 4, 5]
        for before in (None, 1, 2, 4, 6):
            wanted = [each for each in whole if before is None or each.number < before]
            for limit in (None, 1, 3, 99):
                found = await store.board.attempts(lease.task_id, before=before, limit=limit)
                assert list(found) == wanted[-(limit or 99) :], (before, limit)

    @pytest.mark.parametrize("event", [Event.FAIL, Event.CANCEL, Event.RETRY, Event.COMPLETE])
    async def test_an_attempt_says_how_it_ended(self, store: Store, event: Event) -> None:
        """And with what error, if there was one."""
        lease = await lease_one(store)
        error = None if event is Event.COMPLETE else AttemptError("ValueError", "")
        await end(store, lease, event, error=error)
        (attempt,) = await store.board.attempts(lease.task_id)
        assert (attempt.number, attempt.outcome, attempt.error) == (1, event, error)

    async def test_attempts_that_did_not_count_are_left_out(self, store: Store) -> None:
        """Snoozed and released ones; their numbers are given again."""
        lease = await lease_one(store)
        worker_id = await join(store)
        for event in (Event.SNOOZE, Event.RELEASE, Event.RETRY, Event.SNOOZE, Event.FAIL):
            await end(store, lease, event, error=ERROR)
            if event is not Event.FAIL:
                lease = await lease_again(store, worker_id)
        attempts = await store.board.attempts(lease.task_id)
        assert [(each.number, each.outcome) for each in attempts] == [
            (1, Event.RETRY),
            (2, Event.FAIL),
        ]

    async def test_a_cancelled_attempt_is_told(self, store: Store) -> None:
        """Of a task in progress; one that waits had none."""
        waiting = await put(store, execute_at=None)
        await store.tasks.cancel(waiting)
        running = await bring(store, TaskStatus.IN_PROGRESS)
        await store.tasks.cancel(running)
        assert list(await store.board.attempts(waiting)) == []
        (attempt,) = await store.board.attempts(running)
        assert (attempt.number, attempt.outcome, attempt.error) == (1, Event.CANCEL, None)

    async def test_the_history_goes_on_after_a_retry_by_hand(
        self, store: Store, clock: ManualClock
    ) -> None:
        """What failed before stays on record."""
        task_id = await bring(store, TaskStatus.FAILED)
        await store.tasks.retry(task_id)
        worker_id = await join(store, lease=LEASE)
        clock.advance(seconds=1)
        await lease_again(store, worker_id)
        clock.advance(LEASE + TICK)
        await store.workers.declare_dead(worker_id, 0)
        clock.advance(timedelta(seconds=1))
        await end(store, await lease_again(store, await join(store)))
        attempts = await store.board.attempts(task_id)
        assert [(each.number, each.outcome) for each in attempts] == [
            (1, Event.FAIL),
            (2, Event.RESCUE),
            (3, Event.COMPLETE),
        ]
        assert list(await claim(store, worker_id)) == []
