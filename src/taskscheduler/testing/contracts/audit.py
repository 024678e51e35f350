"""What is written into the audit trail, and how it is read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.access import Caller, NewKey, digest_of
from taskscheduler.domain.audit import Action, AuditQuery, Pruned
from taskscheduler.domain.errors import (
    IllegalTransition,
    TaskChanged,
    TaskExists,
    TaskNotFound,
)
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.testing.contracts.steps import Contract, bring, lease_one, new, put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.audit import AuditEntry
    from taskscheduler.domain.values import TaskId
    from taskscheduler.testing.clock import ManualClock

ADA: Final = Caller(name="ada", key_id="a" * 16, address="192.0.2.7", request_id="r-1")
BOB: Final = Caller(name="bob % _ '; --")
ALL: Final = AuditQuery()
KEY: Final = NewKey(id="00" * 8, name="shop", digest=digest_of("s"))


async def told(store: Store, query: AuditQuery = ALL) -> Sequence[AuditEntry]:
    """Return what the trail says."""
    return list(await store.audit.list(query))


async def actions(store: Store, task_id: TaskId) -> list[tuple[Action, str]]:
    """Return what was done to a task and by whom, the oldest first."""
    found = await told(store, AuditQuery(task_id=task_id))
    return [(each.action, each.actor) for each in reversed(found)]


class AuditContract(Contract):
    """Each change by somebody is told once; what did not happen is not told."""

    async def test_an_entry_says_who_what_when_and_from_where(
        self, store: Store, clock: ManualClock
    ) -> None:
        """On the store's time."""
        task_id = await put(store, by=ADA)
        clock.advance(seconds=1)
        await store.tasks.cancel(task_id, by=BOB)
        cancelled, created = await told(store)
        assert created.id < cancelled.id
        assert (created.action, created.task_id, created.target) == (Action.CREATED, task_id, None)
        assert (created.actor, created.key_id) == (ADA.name, ADA.key_id)
        assert (created.address, created.request_id) == (ADA.address, ADA.request_id)
        assert (cancelled.actor, cancelled.key_id, cancelled.address) == (BOB.name, None, None)
        assert cancelled.action is Action.CANCELLED
        assert (cancelled.at - created.at).total_seconds() == 1
        assert cancelled.at == clock.now()

    async def test_every_change_is_told(self, store: Store) -> None:
        """In its order."""
        task_id = await put(store, by=ADA)
        await store.tasks.edit(task_id, TaskEdit(priority=1), by=BOB)
        seen = await store.tasks.get(task_id)
        await store.tasks.edit(task_id, TaskEdit(priority=2), expected=seen, by=ADA)
        await store.tasks.run_now(task_id, by=BOB)
        await store.tasks.cancel(task_id, by=ADA)
        await store.tasks.retry(task_id, by=BOB)
        await store.tasks.delete(task_id, by=ADA)
        assert await actions(store, task_id) == [
            (Action.CREATED, "ada"),
            (Action.CHANGED, BOB.name),
            (Action.CHANGED, "ada"),
            (Action.RUN, BOB.name),
            (Action.CANCELLED, "ada"),
            (Action.RETRIED, BOB.name),
            (Action.DELETED, "ada"),
        ]

    async def test_nobodys_changes_are_not_told(self, store: Store) -> None:
        """As those of an application that schedules for itself."""
        task_id = await put(store)
        await store.tasks.edit(task_id, TaskEdit(priority=1))
        await store.tasks.cancel(task_id)
        await store.tasks.retry(task_id)
        await store.tasks.delete(task_id)
        await store.keys.add(KEY)
        await store.keys.revoke(KEY.id)
        await store.queues.pause("mail")
        await store.queues.resume("mail")
        assert await told(store) == []

    async def test_a_running_task_is_cancelled_or_deleted_by_somebody(self, store: Store) -> None:
        """Its worker is told as ever."""
        for change in (store.tasks.cancel, store.tasks.delete):
            lease = await lease_one(store)
            force = {"force": True} if change == store.tasks.delete else {}
            await change(lease.task_id, by=ADA, **force)
            assert len(await told(store, AuditQuery(task_id=lease.task_id))) == 1

    async def test_what_was_refused_is_not_told(self, store: Store) -> None:
        """Whatever the reason."""
        done = await bring(store, TaskStatus.COMPLETED)
        seen = await store.tasks.get(await put(store))
        gone = store.new_task_id()
        with pytest.raises(IllegalTransition):
            await store.tasks.cancel(done, by=ADA)
        with pytest.raises(IllegalTransition):
            await store.tasks.retry(done, by=ADA)
        with pytest.raises(IllegalTransition):
            await store.tasks.edit(done, TaskEdit(priority=1), by=ADA)
        expected = replace(seen, priority=9)
        with pytest.raises(TaskChanged):
            await store.tasks.edit(seen.id, TaskEdit(priority=1), expected=expected, by=ADA)
        with pytest.raises(TaskNotFound):
            await store.tasks.delete(gone, by=ADA)
        with pytest.raises(TaskExists):
            await store.tasks.put([new(store, by=ADA), new(store, by=ADA).but(id=done, kind="x")])
        assert await told(store) == []

    async def test_a_task_is_created_once(self, store: Store) -> None:
        """However often, and by whomever, it is asked for."""
        task = new(store, by=ADA)
        for asked in ([task], [task], [task.but(by=BOB)], [task, task]):
            await store.tasks.put(asked)
        keyed = [new(store, by=by, unique_key="k") for by in (ADA, BOB)]
        assert len(set(await store.tasks.put(keyed))) == 1
        await store.tasks.put([new(store, by=BOB, unique_key="k")])
        named = Idempotency("once", b"same")
        for by in (ADA, BOB):
            await store.tasks.put([new(store, by=by)], idempotency=named)
        assert [(each.action, each.actor) for each in await told(store)] == [
            (Action.CREATED, "ada")
        ] * 3

    async def test_many_at_once_are_told_one_by_one(self, store: Store) -> None:
        """Each under the name of who asked for it, or under none."""
        tasks = [new(store, by=by) for by in (ADA, None, BOB, ADA)]
        await store.tasks.put(tasks)
        names = {each.task_id: each.actor for each in await told(store)}
        assert names == {tasks[0].id: "ada", tasks[2].id: BOB.name, tasks[3].id: "ada"}

    async def test_of_two_who_cancel_at_once_one_did_it(self, store: Store) -> None:
        """The other was refused."""
        for _ in range(10):
            task_id = await put(store)
            answers = await asyncio.gather(
                *(store.tasks.cancel(task_id, by=by) for by in (ADA, BOB)), return_exceptions=True
            )
            assert sum(isinstance(each, IllegalTransition) for each in answers) == 1
            assert len(await actions(store, task_id)) == 1

    async def test_keys_are_told(self, store: Store) -> None:
        """Each once, however often it is added or revoked."""
        for _ in range(2):
            await store.keys.add(KEY, by=ADA)
        for _ in range(2):
            await store.keys.revoke(KEY.id, by=BOB)
        revoked, added = await told(store)
        assert (added.action, added.target, added.task_id) == (Action.KEY_ADDED, KEY.id, None)
        assert (revoked.action, revoked.actor) == (Action.KEY_REVOKED, BOB.name)

    async def test_the_switch_of_a_queue_is_told(self, store: Store, clock: ManualClock) -> None:
        """Each turn of it once, whoever tries again."""
        await store.queues.resume("mail", by=ADA)
        for by in (None, ADA):
            await store.queues.pause("letters", by=by)
        for by in (ADA, BOB):
            await store.queues.pause("mail", by=by)
        clock.advance(seconds=1)
        for by in (BOB, ADA, None):
            await store.queues.resume("mail", by=by)
        resumed, paused = await told(store)
        assert (paused.action, paused.target, paused.task_id) == (Action.PAUSED, "mail", None)
        assert (paused.actor, paused.key_id) == (ADA.name, ADA.key_id)
        assert (paused.address, paused.request_id) == (ADA.address, ADA.request_id)
        assert (resumed.action, resumed.target) == (Action.RESUMED, "mail")
        assert (resumed.actor, resumed.at) == (BOB.name, clock.now())
        assert [each.paused_at is None for each in await store.queues.list(limit=100)] == [False]

    async def test_entries_are_found_by_their_target(self, store: Store) -> None:
        """A queue by its name, a key by its id, nothing by half of it; by actor and page, too."""
        await store.keys.add(KEY, by=ADA)
        for by in (ADA, BOB):
            for name in ("mail", "mail.a"):
                await store.queues.pause(name, by=by)
                await store.queues.resume(name, by=by)
            await put(store, by=by)

        async def found(target: str, **more: Any) -> list[tuple[Action, str]]:
            entries = await told(store, AuditQuery(target=target, **more))
            return [(each.action, each.actor) for each in entries]

        by_bob = [(Action.RESUMED, BOB.name), (Action.PAUSED, BOB.name)]
        by_ada = [(Action.RESUMED, "ada"), (Action.PAUSED, "ada")]
        assert await found("mail") == [*by_bob, *by_ada]
        assert await found("mail", actor="ada") == by_ada
        assert await found("mail", actor=ADA.key_id, limit=1) == by_ada[:1]
        newest = (await told(store, AuditQuery(target="mail", limit=1)))[0]
        assert await found("mail", before=newest.id, limit=2) == [by_bob[1], by_ada[0]]
        assert await found(KEY.id) == [(Action.KEY_ADDED, "ada")]
        assert await found("mai") == []
        assert await found("mail", task_id=store.new_task_id()) == []

    async def test_entries_are_found_by_task_and_by_actor(self, store: Store) -> None:
        """By the name or by the id of the key, and by both at once."""
        alike = Caller(name=str(ADA.key_id))
        ids = [await put(store, by=by) for by in (ADA, BOB, alike, ADA)]

        async def found(task_id: TaskId | None, actor: str | None) -> list[object]:
            return [
                each.task_id for each in await told(store, AuditQuery(task_id=task_id, actor=actor))
            ]

        assert await found(None, "ada") == [ids[3], ids[0]]
        assert await found(None, BOB.name) == [ids[1]]
        assert await found(None, ADA.key_id) == [ids[3], ids[2], ids[0]]
        assert await found(ids[0], None) == [ids[0]]
        assert await found(ids[0], "ada") == [ids[0]]
        assert await found(ids[0], BOB.name) == []
        assert await found(store.new_task_id(), None) == []
        assert await found(None, "nobody") == []

    async def test_old_entries_are_pruned(self, store: Store, clock: ManualClock) -> None:
        """By their own age, whatever became of their tasks; those that stay keep their ids."""
        old = [await put(store, by=ADA) for _ in range(3)]
        await store.queues.pause("mail", by=ADA)
        clock.advance(days=20)
        await put(store, by=BOB)
        (young,) = await told(store, AuditQuery(actor=BOB.name))
        keep = timedelta(days=30)
        assert await store.audit.prune(keep) == Pruned(0)
        clock.advance(days=11)
        assert await store.audit.prune(keep, dry_run=True) == Pruned(4)
        assert await store.audit.prune(keep, dry_run=True) == Pruned(4), "nothing has gone"
        everything = await told(store)
        assert await store.audit.prune(keep) == Pruned(len(everything) - 1)
        assert await told(store) == [young]
        assert await store.audit.prune(keep) == Pruned(0)
        assert (await store.tasks.get(old[0])).id == old[0]
        assert (await store.queues.get("mail")).is_paused

    async def test_the_ids_of_what_was_pruned_are_not_given_again(
        self, store: Store, clock: ManualClock
    ) -> None:
        """They are cursors: a page begun before goes on where it was."""
        await put(store, by=ADA)
        (first,) = await told(store)
        clock.advance(days=2)
        assert await store.audit.prune(timedelta(days=1)) == Pruned(1)
        await put(store, by=ADA)
        assert (await told(store))[0].id > first.id

    async def test_many_entries_are_pruned_by_many_at_once(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Each goes once, and what is young stays."""
        tasks = [new(store, by=ADA) for _ in range(2500)]
        await store.tasks.put(tasks)
        clock.advance(days=2)
        await put(store, by=BOB)
        keep = timedelta(days=1)
        pruned = await asyncio.gather(*(store.audit.prune(keep) for _ in range(3)))
        last = await store.audit.prune(keep)
        assert sum(each.deleted for each in pruned) + last.deleted == len(tasks)
        assert [each.actor for each in await told(store)] == [BOB.name]

    @pytest.mark.parametrize("actor", [None, "ada"])
    async def test_pages_neither_skip_nor_repeat(self, store: Store, actor: str | None) -> None:
        """While more is done."""
        for number in range(10):
            await put(store, by=ADA if number % 2 else BOB)
        everything = await told(store, AuditQuery(actor=actor))
        query = AuditQuery(actor=actor, limit=3)
        pages: list[AuditEntry] = []
        while page := await told(store, query):
            assert len(page) <= query.limit
            pages += page
            query = replace(query, before=page[-1].id)
            await put(store, by=ADA)
        assert pages == everything
