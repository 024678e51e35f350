"""What ``TaskRepository`` promises of the groups of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.status import Event
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.testing.contracts.fires import add, fire
from taskscheduler.testing.contracts.steps import (
    Contract,
    claim,
    end,
    join,
    lease_again,
    lease_one,
    new,
    put,
)

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

MANY: Final = 2_100
NAMES: Final = ("a", "customer-7", 'o\'brien \\ "x", {y}', "a:b/c, d", "Zoë 東京 🙂", "x" * 256)
NO_NAMES: Final = ("", "x" * 257, "a\nb", "a\0b", "\x7f", "\x85", "a\u2028b", "\ud800", 7, b"a")


class GroupsContract(Contract):
    """A task keeps its group, however it was stored and whatever becomes of it."""

    @pytest.mark.parametrize("name", NAMES)
    async def test_a_group_is_kept(self, store: Store, name: str) -> None:
        """In every way of storing one or a few."""
        await store.tasks.put([new(store, group=name)])
        await store.tasks.put([new(store, group=name), new(store), new(store, group=name)])
        await store.tasks.put([new(store, group=name, unique_key="k")])
        await store.tasks.put([new(store, group=name)], idempotency=Idempotency("k", b"k"))
        listed = await store.board.list(TaskQuery())
        assert [task.group for task in listed] == [name, name, name, None, name, name]
        assert listed == [await store.tasks.get(task.id) for task in listed]
        found = await store.board.list(TaskQuery(group=name))
        assert found == [task for task in listed if task.group == name]
        leases = await claim(store, await join(store))
        assert {each.task_id: each.group for each in leases} == {
            task.id: task.group for task in listed
        }

    @pytest.mark.parametrize("name", NO_NAMES)
    async def test_what_is_no_group(self, store: Store, name: Any) -> None:
        """A name that is too long, or does not print."""
        with pytest.raises(InvalidTask, match="group: must be 1 to 256 printable"):
            new(store, group=name)

    async def test_very_many_at_once(self, store: Store) -> None:
        """Of several groups, and of none."""
        tasks = [new(store, group=None if n % 3 == 0 else f"g{n % 3}") for n in range(MANY)]
        await store.tasks.put(tasks)
        kept = await store.board.list(TaskQuery(limit=MANY))
        assert {task.id: task.group for task in kept} == {task.id: task.group for task in tasks}
        some = await store.board.list(TaskQuery(group=["g1", "nobody's"], limit=MANY))
        assert {task.id for task in some} == {task.id for task in tasks if task.group == "g1"}

    async def test_filters(self, store: Store) -> None:
        """Groups are alternatives, and other fields must hold as well."""
        first = await put(store, group="a")
        second = await put(store, "call", group="b")
        await put(store)
        assert [t.id for t in await store.board.list(TaskQuery(group=["a", "b"]))] == [
            second,
            first,
        ]
        assert await store.board.list(TaskQuery(group="a", kind="call")) == []
        parsed = TaskQuery.parse(["group:a", "group:b", "kind:call"])
        assert [task.id for task in await store.board.list(parsed)] == [second]
        lease = await lease_one(store, group="c")
        await end(store, lease)
        (ended,) = await store.board.list(TaskQuery(group="c"))
        assert (ended.id, ended.group) == (lease.task_id, "c")

    async def test_a_retried_task_is_of_the_same_group(self, store: Store) -> None:
        """And one that was put back, and one that was revived."""
        lease = await lease_one(store, group="a")
        worker_id = await join(store)
        await end(store, lease, Event.RETRY)
        lease = await lease_again(store, worker_id)
        assert lease.group == "a"
        await end(store, lease, Event.FAIL)
        assert (await store.tasks.retry(lease.task_id)).group == "a"
        assert (await lease_again(store, worker_id)).group == "a"

    async def test_another_group(self, store: Store) -> None:
        """Given, changed and taken away; the rest stays."""
        task_id = await put(store, priority=3)
        before = await store.tasks.get(task_id)
        for group in ("a", "b", None):
            edited = await store.tasks.edit(task_id, TaskEdit(group=group or ""))
            assert edited.group == group
            assert await store.tasks.get(task_id) == edited
        assert edited == before
        both = await store.tasks.edit(task_id, TaskEdit(group="c", priority=0))
        assert (both.group, both.priority) == ("c", 0)
        lease = await lease_again(store, await join(store))
        assert (lease.task_id, lease.group, lease.priority) == (task_id, "c", 0)

    async def test_tasks_of_schedules(self, store: Store, clock: ManualClock) -> None:
        """Two schedules differ in nothing but the group."""
        for number, group in enumerate((None, "a", "b")):
            schedule = await add(store, clock, f"s{number}", group=group)
            assert (await store.schedules.get(f"s{number}")).definition.group == group
            fired = await fire(store, schedule)
            assert fired is not None
            assert (await store.tasks.get(fired.task_ids[0])).group == group
