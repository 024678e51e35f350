"""What ``LimitRepository`` promises, and ``TaskRepository.claim`` of limits and of turns."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.errors import LimitChanged, LimitNotFound
from taskscheduler.domain.lease import SUSPECT_AFTER
from taskscheduler.domain.limit import Limit, LimitUse
from taskscheduler.domain.status import Event
from taskscheduler.testing.contracts.steps import (
    Contract,
    claim,
    end,
    join,
    new,
    put,
    subscribed,
)
from taskscheduler.testing.contracts.suspects import claim_suspects, make_suspect

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.testing.clock import ManualClock

FULL: Final[dict[str, Any]] = {
    "queue": "default",
    "kind": "mail",
    "group": 'Zoë, "x" {y}',
    "concurrency": 7,
    "rate": "30/m",
    "burst": 3,
    "weight": 20,
}


async def limit(store: Store, name: str = "l", **fields: Any) -> None:
    """Put a limit."""
    await store.limits.put(Limit(name=name, **fields))


async def fill(store: Store, number: int, **fields: Any) -> None:
    """Store ``number`` tasks that are due."""
    await store.tasks.put([new(store, **fields) for _ in range(number)])


async def claimed(store: Store, clock: ManualClock, limit: int = 100) -> list[Lease]:
    """Claim by a worker that has seen all there is; let its looks be no reason to claim nothing."""
    worker_id = await join(store, "mail", "call")
    clock.advance(seconds=2)
    return list(await claim(store, worker_id, "mail", "call", limit=limit))


class KeepingLimitsContract(Contract):
    """Limits are kept by name."""

    @pytest.mark.parametrize(
        "fields",
        [
            FULL,
            {"concurrency": 1},
            {"rate": "1000000/d"},
            {"weight": 100, "per_group": True},
            {"rate": "5/h", "burst": 1_000_000, "kind": "a:b"},
        ],
    )
    async def test_what_is_put_is_there(
        self, store: Store, clock: ManualClock, fields: dict[str, Any]
    ) -> None:
        """Field for field; and put again, nothing changes."""
        given = Limit(name="mail", **fields)
        kept, made = await store.limits.put(given)
        assert (kept.definition, made, kept.created_at) == (given, True, clock.now())
        clock.advance(seconds=1)
        assert await store.limits.put(given) == (kept, False)
        assert await store.limits.get("mail") == kept
        assert list(await store.limits.list(limit=10)) == [kept]

    async def test_a_change(self, store: Store, clock: ManualClock) -> None:
        """Of what it grants, and of what it holds for."""
        first, _ = await store.limits.put(Limit(name="mail", concurrency=2))
        changed = first
        some: list[dict[str, Any]] = [
            {"concurrency": 3},
            {"rate": "7/s"},
            {"queue": "q", "weight": 5},
        ]
        for fields in (*some, FULL):
            clock.advance(seconds=1)
            changed, made = await store.limits.put(Limit(name="mail", **fields))
            assert (made, changed.definition) == (False, Limit(name="mail", **fields))
            assert (changed.created_at, changed.changed_at) == (first.created_at, clock.now())
            assert await store.limits.get("mail") == changed
        assert changed.revision == first.revision + 4

    async def test_names_in_order(self, store: Store) -> None:
        """Page by page."""
        for name in ("b", "Z", "a", "c"):
            await limit(store, name, concurrency=1)
        page = await store.limits.list(limit=3)
        assert [each.name for each in page] == ["Z", "a", "b"]
        assert [each.name for each in await store.limits.list(after="b", limit=3)] == ["c"]

    async def test_only_what_was_looked_at(self, store: Store) -> None:
        """Of two who change it the second is refused."""
        old, _ = await store.limits.put(Limit(name="mail", concurrency=2))
        new, _ = await store.limits.put(Limit(name="mail", concurrency=3), expected=old)
        with pytest.raises(LimitChanged):
            await store.limits.put(Limit(name="mail", concurrency=4), expected=old)
        with pytest.raises(LimitChanged):
            await store.limits.delete("mail", expected=old)
        assert await store.limits.get("mail") == new
        await store.limits.delete("mail", expected=new)
        for wrong in (store.limits.get("mail"), store.limits.delete("mail")):
            with pytest.raises(LimitNotFound):
                await wrong
        with pytest.raises(LimitNotFound):
            await store.limits.put(Limit(name="mail", concurrency=4), expected=new)
        assert await store.limits.list(limit=9) == []

    async def test_what_is_done_is_on_record(self, store: Store) -> None:
        """And what changes nothing is not."""
        anna = Caller(name="anna")
        for number in (1, 1, 2):
            await store.limits.put(Limit(name="mail", concurrency=number), by=anna)
        await store.limits.delete("mail", by=anna)
        entries = await store.audit.list(AuditQuery(target="mail"))
        assert [each.action for each in reversed(entries)] == [
            Action.LIMIT_ADDED,
            Action.LIMIT_CHANGED,
            Action.LIMIT_DELETED,
        ]


class ConcurrencyContract(Contract):
    """No more leases are held under a limit than its concurrency."""

    async def test_no_more_than_it_lets_run(self, store: Store, clock: ManualClock) -> None:
        """Whoever claims, and however often; each that ends lets one more begin."""
        await limit(store, concurrency=3)
        await fill(store, 10)
        first = await claimed(store, clock)
        assert len(first) == 3  # noqa: PLR2004
        assert await claimed(store, clock) == []
        for event in (Event.COMPLETE, Event.FAIL, Event.RETRY, Event.RELEASE):
            await end(store, first.pop(), event)
            clock.advance(seconds=1)
            first += await claimed(store, clock)
            assert len(first) == 3  # noqa: PLR2004
        await store.tasks.cancel(first.pop().task_id)
        await store.tasks.delete(first.pop().task_id, force=True)
        assert len(await claimed(store, clock)) == 2  # noqa: PLR2004

    @pytest.mark.parametrize("field", ["queue", "kind", "group"])
    async def test_only_what_it_holds_for(
        self, store: Store, clock: ManualClock, field: str
    ) -> None:
        """Others go on."""
        one = {"queue": "default", "kind": "mail", "group": "a"}
        other = {"queue": "other", "kind": "call", "group": "b"}
        await limit(store, **{field: one[field]}, concurrency=1)
        for fields in (one, one | {field: other[field]}):
            await fill(store, 3, **fields)
        worker_id = await join(store, "mail", "call", queues=("default", "other"))
        clock.advance(seconds=2)
        taken = subscribed("mail", "call", queues=("default", "other"))
        leases = await store.tasks.claim(worker_id, taken, 100)
        values = Counter(getattr(each, field) for each in leases)
        assert values == {one[field]: 1, other[field]: 3}

    async def test_each_group_has_its_own(self, store: Store, clock: ManualClock) -> None:
        """And the tasks without a group have one together."""
        await limit(store, per_group=True, concurrency=2)
        for group in ("a", "b", None):
            await fill(store, 4, group=group)
        await fill(store, 4, kind="call", group="a")
        leases = await claimed(store, clock)
        assert Counter(each.group for each in leases) == {"a": 2, "b": 2, None: 2}

    async def test_all_that_fit_must_let_it_begin(self, store: Store, clock: ManualClock) -> None:
        """The narrowest counts, whichever it is."""
        await limit(store, "all", concurrency=5)
        await limit(store, "each", per_group=True, concurrency=3)
        await limit(store, "b", group="b", concurrency=1)
        await fill(store, 9, group="a")
        await fill(store, 9, group="b")
        leases = await claimed(store, clock)
        assert Counter(each.group for each in leases) == {"a": 3, "b": 1}
        await fill(store, 9, group="c")
        assert len(await claimed(store, clock)) == 1

    async def test_what_ran_before_counts(self, store: Store, clock: ManualClock) -> None:
        """Of a limit that is made, lowered, raised, or made to hold for something else."""
        await fill(store, 9)
        first = await claimed(store, clock, limit=4)
        await limit(store, concurrency=3)
        for _ in range(2):
            assert await claimed(store, clock) == []
            await end(store, first.pop())
        first += await claimed(store, clock)
        assert len(first) == 3  # noqa: PLR2004
        await limit(store, concurrency=2)
        await end(store, first.pop())
        assert await claimed(store, clock) == []
        await limit(store, concurrency=4, kind="mail")
        assert len(await claimed(store, clock)) == 2  # noqa: PLR2004
        await store.limits.delete("l")
        assert len(await claimed(store, clock)) == 2  # noqa: PLR2004

    async def test_a_dead_workers_leases_are_free_again(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Once they have been rescued, and not before."""
        await limit(store, concurrency=2)
        await fill(store, 4)
        worker_id = await join(store)
        assert len(await claim(store, worker_id)) == 2  # noqa: PLR2004
        assert await claimed(store, clock) == []
        clock.advance(minutes=5)
        (dead,) = [each for each in await store.workers.registered() if each.id == worker_id]
        assert dead.expired
        await store.workers.declare_dead(worker_id, dead.beats)
        assert len(await claimed(store, clock)) == 2  # noqa: PLR2004

    async def test_suspects_are_let_through_like_others(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Where others run, none; else as many as there is room for."""
        ids = await make_suspect(store, clock, 3, SUSPECT_AFTER)
        await limit(store, concurrency=2)
        await put(store, "call")
        worker_id = await join(store, "mail", "call")
        (other,) = await claim(store, worker_id, "call")
        (first,) = await claim_suspects(store, worker_id)
        assert list(await claim_suspects(store, worker_id)) == []
        await end(store, other)
        (second,) = await claim_suspects(store, worker_id)
        assert {first.task_id, second.task_id} < ids

    async def test_how_it_is_used(self, store: Store, clock: ManualClock) -> None:
        """What runs, and what is due and waits."""
        await limit(store, concurrency=2, kind="mail")
        await limit(store, "other", concurrency=2, kind="call")
        await fill(store, 5)
        await put(store, execute_at=clock.now() + timedelta(days=1))
        assert len(await claimed(store, clock)) == 2  # noqa: PLR2004
        uses = await store.limits.uses(["l", "other", "nobody's"])
        assert uses == {"l": LimitUse(2, 3), "other": LimitUse(0, 0)}

    async def test_held_back(self, store: Store, clock: ManualClock) -> None:
        """A worker is told that it is to wait, and not for how long it has waited."""
        await limit(store, concurrency=1)
        await fill(store, 2)
        worker_id = await join(store)
        (lease,) = await claim(store, worker_id)
        clock.advance(seconds=2)
        assert await claim(store, worker_id) == []
        due = await store.tasks.next_due(subscribed())
        assert due is not None
        assert due > timedelta(0)
        assert store.tasks.are_held_back(subscribed())
        await end(store, lease)
        assert len(await claim(store, worker_id)) == 1
        clock.advance(seconds=2)
        assert list(await claim(store, worker_id)) == []
        assert await store.tasks.next_due(subscribed()) is None
        assert not store.tasks.are_held_back(subscribed())


class RateContract(Contract):
    """Tasks begin no faster than a rate lets them."""

    async def test_a_burst_and_then_the_rate(self, store: Store, clock: ManualClock) -> None:
        """Nothing is saved up beyond the burst."""
        await limit(store, rate="10/s", burst=3)
        await fill(store, 50)
        worker_id = await join(store)
        numbers: list[int] = []
        for wait_ms in (0, 99, 1, 100, 250, 50, 10_000, 0):
            clock.advance(milliseconds=wait_ms)
            numbers.append(len(await claim(store, worker_id)))
        assert numbers == [3, 0, 1, 1, 2, 1, 3, 0]

    async def test_without_a_burst(self, store: Store, clock: ManualClock) -> None:
        """What comes in a tenth of a second, one at least."""
        await limit(store, "slow", rate="2/m", queue="slow")
        await limit(store, "fast", rate="200/s", queue="fast")
        worker_id = await join(store, queues=("slow", "fast"))
        for queue in ("slow", "fast"):
            await fill(store, 50, queue=queue)
        taken = subscribed(queues=("slow", "fast"))
        leases = await store.tasks.claim(worker_id, taken, 100)
        assert Counter(each.queue for each in leases) == {"slow": 1, "fast": 20}
        clock.advance(seconds=30)
        leases = await store.tasks.claim(worker_id, taken, 100)
        assert Counter(each.queue for each in leases) == {"slow": 1, "fast": 20}

    async def test_an_empty_claim_spends_nothing_and_a_retry_counts(
        self, store: Store, clock: ManualClock
    ) -> None:
        """Each start is one, whatever began."""
        await limit(store, rate="1/s", burst=2)
        worker_id = await join(store)
        for _ in range(3):
            assert list(await claim(store, worker_id)) == []
        await put(store)
        (lease,) = await claim(store, worker_id)
        await end(store, lease, Event.RETRY)
        (lease,) = await claim(store, worker_id)
        await end(store, lease, Event.RETRY)
        assert list(await claim(store, worker_id)) == []
        clock.advance(seconds=1)
        assert len(await claim(store, worker_id)) == 1

    async def test_another_rate(self, store: Store, clock: ManualClock) -> None:
        """Nobody waits for what the old one would have granted, and a first one grants all."""
        await limit(store, concurrency=1)
        await fill(store, 9)
        worker_id = await join(store)
        assert len(await claim(store, worker_id)) == 1
        clock.advance(seconds=1)
        await limit(store, rate="1/d")
        assert len(await claim(store, worker_id)) == 1
        await limit(store, rate="10/s", burst=2)
        clock.advance(milliseconds=100)
        assert len(await claim(store, worker_id)) == 1
        clock.advance(seconds=1)
        assert len(await claim(store, worker_id)) == 2  # noqa: PLR2004
        clock.advance(milliseconds=99)
        assert list(await claim(store, worker_id)) == []

    async def test_how_long_to_wait(self, store: Store, clock: ManualClock) -> None:
        """Until the next may begin."""
        await limit(store, rate="1/m")
        await fill(store, 3)
        worker_id = await join(store)
        assert len(await claim(store, worker_id)) == 1
        began_at = clock.now()
        clock.advance(seconds=20)
        assert list(await claim(store, worker_id)) == []
        due = await store.tasks.next_due(subscribed())
        assert due == timedelta(seconds=40)
        (use,) = (await store.limits.uses(["l"])).values()
        assert use == LimitUse(1, 2, began_at + timedelta(minutes=1))
        clock.advance(seconds=40)
        assert len(await claim(store, worker_id)) == 1


class TurnsContract(Contract):
    """The groups of a queue and priority take turns."""

    async def test_a_flood_does_not_keep_others_waiting(
        self, store: Store, clock: ManualClock
    ) -> None:
        """One that came last has its turn."""
        await fill(store, 200, group="flood")
        clock.advance(seconds=5)
        await fill(store, 3, group="b")
        await fill(store, 3)
        leases = await claimed(store, clock, limit=9)
        assert Counter(each.group for each in leases) == {"flood": 3, "b": 3, None: 3}

    async def test_by_weight(self, store: Store, clock: ManualClock) -> None:
        """Over many small claims, too."""
        await limit(store, "a", group="a", weight=3)
        for group in ("a", "b"):
            await fill(store, 100, group=group)
        worker_id = await join(store)
        clock.advance(seconds=2)
        got: Counter[str | None] = Counter()
        for _ in range(20):
            got += Counter(each.group for each in await claim(store, worker_id, limit=2))
        assert got == {"a": 30, "b": 10}

    async def test_what_one_leaves_the_others_take(self, store: Store, clock: ManualClock) -> None:
        """No place stays empty while anything waits."""
        await fill(store, 100, group="a")
        await fill(store, 1, group="b")
        leases = await claimed(store, clock, limit=50)
        assert Counter(each.group for each in leases) == {"a": 49, "b": 1}

    async def test_priorities_come_first(self, store: Store, clock: ManualClock) -> None:
        """Turns are among those that are equally urgent."""
        await fill(store, 10, group="a", priority=1)
        await fill(store, 10, group="b", priority=5)
        await fill(store, 10, group="c", priority=1)
        leases = await claimed(store, clock, limit=12)
        assert Counter(each.group for each in leases) == {"a": 6, "c": 6}


class LimitRepositoryContract(
    KeepingLimitsContract, ConcurrencyContract, RateContract, TurnsContract
):
    """Proves a ``LimitRepository``, and what claims make of it."""
