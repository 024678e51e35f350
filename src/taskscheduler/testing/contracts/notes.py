"""What ``Notes`` promises, and ``TaskRepository`` of results."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import IllegalTransition, LeaseLost, SignalExists, TaskNotFound
from taskscheduler.domain.lease import AttemptError, Settlement
from taskscheduler.domain.notes import Awaited, Ending, Progress, Report, TaskNotes
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import (
    ERROR,
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
    from taskscheduler.domain.lease import Lease
    from taskscheduler.testing.clock import ManualClock

DELAY = timedelta(minutes=5)
RESULT = b'{"rows":400,"name":"caf\xc3\xa9 \\u0000"}'


def completed(lease: Lease, result: bytes | None = RESULT) -> Settlement:
    """Return the settlement of an attempt whose handler returned something."""
    return Settlement(lease.task_id, lease.token, Event.COMPLETE, result=result)


def waits(lease: Lease) -> Settlement:
    """Return the settlement of an attempt that waits for a signal."""
    return Settlement(lease.task_id, lease.token, Event.SNOOZE, DELAY, waits_for="approval")


class NotesContract(Contract):
    """What is kept of a task is kept with its outcome, and goes with it."""

    async def test_a_result_is_kept_with_the_outcome(self, store: Store) -> None:
        """As it came, byte for byte."""
        lease = await lease_one(store)
        assert list(await store.tasks.settle([completed(lease)])) == []
        assert await store.notes.of(lease.task_id) == TaskNotes(result=RESULT)
        assert await store.notes.endings([lease.task_id]) == {
            lease.task_id: Ending(TaskStatus.COMPLETED, RESULT)
        }

    async def test_those_with_and_without_results_are_settled_at_once(self, store: Store) -> None:
        """In whatever order, large and small."""
        worker_id = await join(store)
        ids = await store.tasks.put([new(store) for _ in range(40)])
        leases = await claim(store, worker_id)
        results = {
            lease.task_id: None
            if index % 3 == 0
            else b'"%s"' % (b"x" * (300_000 if index % 3 == 1 else 1))
            for index, lease in enumerate(reversed(leases))
        }
        settlements = [completed(each, results[each.task_id]) for each in leases]
        assert list(await store.tasks.settle(settlements)) == []
        assert await store.notes.endings(ids) == {
            task_id: Ending(TaskStatus.COMPLETED, result) for task_id, result in results.items()
        }
        assert set(await store.tasks.settle(settlements)) == set(ids)
        assert set(await store.tasks.outcomes_of(settlements)) == set(ids)

    async def test_a_stale_result_is_not_kept(self, store: Store) -> None:
        """Whoever lost the lease changes nothing."""
        lease = await lease_one(store)
        await end(store, lease, Event.RELEASE)
        assert set(await store.tasks.settle([completed(lease)])) == {lease.task_id}
        assert await store.notes.of(lease.task_id) == TaskNotes()
        assert await store.notes.endings([lease.task_id]) == {}

    async def test_a_result_is_part_of_the_handlers_own_transaction(self, store: Store) -> None:
        """It is asked for at the end of the block."""
        lease = await lease_one(store)
        results: list[bytes] = []
        async with store.tasks.completing(lease, lambda: results[0]):
            results.append(b"7")
        assert (await store.notes.of(lease.task_id)).result == b"7"
        with pytest.raises(LeaseLost):
            async with store.tasks.completing(lease, lambda: b"8"):
                pass
        assert (await store.notes.of(lease.task_id)).result == b"7"

    async def test_a_result_that_raises_completes_nothing(self, store: Store) -> None:
        """The lease still holds."""
        lease = await lease_one(store)

        def refuse() -> bytes:
            message = "too large"
            raise ValueError(message)

        with pytest.raises(ValueError, match="too large"):
            async with store.tasks.completing(lease, refuse):
                pass
        await end(store, lease)

    async def test_endings_are_told_apart(self, store: Store) -> None:
        """Those that go on are left out, and those that are not there are None."""
        pending = await put(store)
        await store.tasks.delete(pending)
        running = await bring(store, TaskStatus.IN_PROGRESS)
        done = await bring(store, TaskStatus.COMPLETED)
        broken = await bring(store, TaskStatus.FAILED)
        off = await bring(store, TaskStatus.CANCELLED)
        waits = await put(store)
        unknown = store.new_task_id()
        found = await store.notes.endings([running, done, broken, off, waits, unknown, pending])
        assert found == {
            done: Ending(TaskStatus.COMPLETED),
            broken: Ending(TaskStatus.FAILED, error=ERROR),
            off: Ending(TaskStatus.CANCELLED, error=ERROR),
            unknown: None,
            pending: None,
        }
        assert await store.notes.endings([]) == {}

    async def test_the_last_error_counts(self, store: Store) -> None:
        """Of a task that was called off, too, and a success has none."""
        worker_id = await join(store)
        await store.tasks.put([new(store), new(store)])
        for lease in await claim(store, worker_id):
            await end(store, lease, Event.RETRY, error=AttemptError("First", "1"))
        one, two = await claim(store, worker_id)
        last = AttemptError("Second", "2", "Traceback")
        await end(store, one, Event.RETRY, error=last)
        await end(store, two)
        await store.tasks.cancel(one.task_id)
        assert await store.notes.endings([one.task_id, two.task_id]) == {
            one.task_id: Ending(TaskStatus.CANCELLED, error=last),
            two.task_id: Ending(TaskStatus.COMPLETED),
        }

    @pytest.mark.parametrize("at_once", [False, True])
    async def test_it_goes_with_its_task(self, store: Store, *, at_once: bool) -> None:
        """A task of the same id that is stored later has none of it."""
        lease = await lease_one(store)
        await store.notes.report([Report(lease.task_id, lease.token, 1.0, None, None)])
        await store.notes.keep_step(lease, "charge", b"1")
        await store.tasks.settle([completed(lease)])
        if at_once:
            await store.tasks.change_all(BulkVerb.DELETE, TaskStatus.COMPLETED, [lease.task_id])
        else:
            await store.tasks.delete(lease.task_id)
        await store.tasks.put([new(store).but(id=lease.task_id)])
        assert await store.notes.of(lease.task_id) == TaskNotes()
        assert await store.notes.steps(lease.task_id) == {}

    async def test_the_last_word_of_progress_counts(self, store: Store, clock: ManualClock) -> None:
        """At the store's time, and as it was said; it outlives the attempt."""
        lease = await lease_one(store)
        other = await lease_one(store)
        token = lease.token
        await store.notes.report([Report(lease.task_id, token, 0.25, "read\0ing", b'{"a": 1}')])
        clock.advance(seconds=3)
        at = clock.now()
        await store.notes.report(
            [
                Report(other.task_id, other.token, None, None, None),
                Report(lease.task_id, token, 0.5, "caf\u00e9", b'[1.0,"x"]'),
            ]
        )
        said = Progress(0.5, "caf\u00e9", b'[1.0,"x"]', at)
        assert await store.notes.progress([lease.task_id, other.task_id]) == {
            lease.task_id: said,
            other.task_id: Progress(None, None, None, at),
        }
        await store.tasks.settle([completed(lease)])
        assert await store.notes.of(lease.task_id) == TaskNotes(RESULT, said)
        assert await store.notes.progress([]) == {}

    async def test_progress_is_fenced(self, store: Store) -> None:
        """Of several words those count whose leases hold."""
        lease = await lease_one(store)
        other = await lease_one(store)
        await end(store, lease, Event.RELEASE)
        await store.notes.report(
            [
                Report(lease.task_id, lease.token, 0.5, None, None),
                Report(other.task_id, other.token, 0.5, None, None),
                Report(store.new_task_id(), 1, 0.5, None, None),
            ]
        )
        assert set(await store.notes.progress([lease.task_id, other.task_id])) == {other.task_id}

    async def test_steps_are_kept_across_attempts(self, store: Store) -> None:
        """Byte for byte, by their names."""
        worker_id = await join(store)
        task_id = await put(store)
        (lease,) = await claim(store, worker_id)
        assert await store.notes.steps(task_id) == {}
        await store.notes.keep_step(lease, "charge caf\u00e9", b'{"id": "\\u0000"}')
        await store.notes.keep_step(lease, "mail", b"1")
        await store.notes.keep_step(lease, "mail", b"null")
        await end(store, lease, Event.RETRY, error=ERROR)
        kept = {"charge caf\u00e9": b'{"id": "\\u0000"}', "mail": b"null"}
        assert await store.notes.steps(task_id) == kept
        (again,) = await claim(store, worker_id)
        await store.notes.keep_step(again, "more", b"2")
        with pytest.raises(LeaseLost):
            await store.notes.keep_step(lease, "late", b"3")
        await end(store, again, Event.FAIL, error=ERROR)
        await store.tasks.retry(task_id)
        assert await store.notes.steps(task_id) == kept | {"more": b"2"}
        assert await store.notes.of(task_id) == TaskNotes()

    async def test_a_signal_makes_due_what_waits_for_it(
        self, store: Store, clock: ManualClock
    ) -> None:
        """And its attempt does not count; another signal is kept, and changes nothing."""
        worker_id = await join(store)
        task_id = await put(store)
        (lease,) = await claim(store, worker_id)
        assert list(await store.tasks.settle([waits(lease)])) == []
        task = await store.tasks.get(task_id)
        assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
        assert task.process_at == clock.now() + DELAY
        assert await store.notes.awaited(task_id) == Awaited("approval", clock.now() + DELAY)
        await store.notes.signal(task_id, "other", b"1")
        assert list(await claim(store, worker_id)) == []
        await store.notes.signal(task_id, "approval", b'{"ok": true}')
        (again,) = await claim(store, worker_id)
        assert (again.task_id, again.attempt) == (task_id, 1)
        assert await store.notes.signals(task_id) == {"other": b"1", "approval": b'{"ok": true}'}

    async def test_an_early_signal_is_kept(self, store: Store) -> None:
        """Whoever waits for it then is due at once."""
        worker_id = await join(store)
        task_id = await put(store)
        await store.notes.signal(task_id, "approval", b"1")
        (lease,) = await claim(store, worker_id)
        await store.tasks.settle([waits(lease)])
        assert [each.task_id for each in await claim(store, worker_id)] == [task_id]

    async def test_a_wait_ends_in_time(self, store: Store, clock: ManualClock) -> None:
        """Without the signal; one that comes after that changes no time any more."""
        worker_id = await join(store)
        lease = await lease_one(store)
        await store.tasks.settle([waits(lease)])
        clock.advance(DELAY)
        await store.notes.signal(lease.task_id, "approval", b"1")
        assert [each.task_id for each in await claim(store, worker_id)] == [lease.task_id]

    async def test_a_wait_under_a_lost_lease_changes_nothing(self, store: Store) -> None:
        """Like any other outcome."""
        lease = await lease_one(store)
        await end(store, lease, Event.RELEASE)
        assert set(await store.tasks.settle([waits(lease)])) == {lease.task_id}
        assert await store.notes.awaited(lease.task_id) is None

    async def test_a_signal_that_is_refused(self, store: Store) -> None:
        """A second one of a name, and one for what has ended or is not there."""
        task_id = await put(store)
        await store.notes.signal(task_id, "approval", b"1")
        with pytest.raises(SignalExists):
            await store.notes.signal(task_id, "approval", b"2")
        assert await store.notes.signals(task_id) == {"approval": b"1"}
        await store.tasks.cancel(task_id)
        with pytest.raises(IllegalTransition):
            await store.notes.signal(task_id, "more", b"1")
        await store.tasks.delete(task_id)
        with pytest.raises(TaskNotFound):
            await store.notes.signal(task_id, "more", b"1")
        assert await store.notes.signals(task_id) == {}

    async def test_a_signal_is_told_of(self, store: Store) -> None:
        """Once, and not where it was refused."""
        ada = Caller(name="ada")
        task_id = await put(store)
        await store.notes.signal(task_id, "approval", b"1", by=ada)
        with pytest.raises(SignalExists):
            await store.notes.signal(task_id, "approval", b"2", by=ada)
        told = [each.action for each in await store.audit.list(AuditQuery(task_id=task_id))]
        assert told == [Action.SIGNALLED]
