"""The registered function in place of its kind's name."""

from __future__ import annotations

import gc
import pickle
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler import Context, Handlers, InvalidTask, SyncScheduler
from taskscheduler.testing import Drained, drain

if TYPE_CHECKING:
    from taskscheduler import Scheduler

pytestmark = pytest.mark.anyio
module_handlers = Handlers()


class Receipt(msgspec.Struct):
    to: str
    cents: int


@module_handlers.register("send_receipt")
async def send_receipt(context: Context, receipt: Receipt) -> None:
    sent.append(receipt)


@module_handlers.register("sweep")
def sweep(context: Context) -> None:
    sent.append(context.kind)


sent: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


async def test_a_function_is_as_good_as_its_kind(scheduler_in_memory: Scheduler) -> None:
    ada = Receipt("ada@example.org", 1200)
    one = await scheduler_in_memory.schedule(send_receipt, ada, priority=1)
    assert (await scheduler_in_memory.get(one)).kind == "send_receipt"
    await scheduler_in_memory.schedule(sweep)
    await scheduler_in_memory.schedule_many(
        [(send_receipt, ada), scheduler_in_memory.prepare(send_receipt, ada), (sweep, None)]
    )
    assert await drain(scheduler_in_memory, module_handlers) == Drained(completed=5)
    assert sorted(sent, key=str) == sorted([ada] * 3 + ["sweep"] * 2, key=str)


def test_it_is_where_one_blocks():
    with SyncScheduler.in_memory() as scheduler:
        task_id = scheduler.schedule(send_receipt, Receipt("ada@example.org", 1))
        assert scheduler.get(task_id).kind == "send_receipt"
        assert scheduler.prepare(sweep).kind == "sweep"
        with pytest.raises(InvalidTask, match="payload"):
            scheduler.schedule("send_receipt", float("nan"))


async def test_what_is_registered_stays_the_function_that_it_was() -> None:
    await send_receipt(None, Receipt("ada", 1))  # pyright: ignore[reportArgumentType] - called as before
    assert sent == [Receipt("ada", 1)]
    assert pickle.loads(pickle.dumps(sweep)) is sweep  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (None, "is not what send_receipt takes"),
        ({"to": "ada"}, "cents"),
        ({"to": "ada", "cents": "many"}, "Expected `int`"),
    ],
)
async def test_what_the_handler_could_not_read_is_refused_at_once(
    scheduler_in_memory: Scheduler, payload: Any, said: str
) -> None:
    """By its name a kind takes anything, for its handler may be elsewhere."""
    schedule: Any = scheduler_in_memory.schedule
    with pytest.raises(InvalidTask, match=said) as refused:
        await schedule(send_receipt, payload)
    assert refused.value.field == "payload"
    with pytest.raises(InvalidTask) as refused:
        await scheduler_in_memory.schedule_many([("k", 1), (send_receipt, payload)])
    assert refused.value.index == 1
    with pytest.raises(InvalidTask, match="takes none"):
        await schedule(sweep, 5)
    assert await scheduler_in_memory.list() == []
    await scheduler_in_memory.schedule("send_receipt", payload)


async def test_which_kind_is_meant_must_be_known(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()

    def unknown(context: Context) -> None: ...

    with pytest.raises(InvalidTask, match="unknown is a function that is registered nowhere"):
        await scheduler_in_memory.schedule(unknown)
    handlers.register("one")(unknown)
    assert scheduler_in_memory.prepare(unknown).kind == "one"
    Handlers().register("one")(unknown)  # as tests do
    assert scheduler_in_memory.prepare(unknown).kind == "one"
    handlers.register("two")(unknown)
    with pytest.raises(InvalidTask, match="registered under one, two"):
        await scheduler_in_memory.schedule(unknown)
    nothing: Any = 5
    with pytest.raises(InvalidTask, match="not int"):
        await scheduler_in_memory.schedule(nothing)


async def test_methods_partials_and_objects_too(scheduler_in_memory: Scheduler) -> None:
    handlers = Handlers()

    class Shop:
        def close(self, context: Context) -> None: ...

        def __call__(self, context: Context, number: int) -> None: ...

    def reached(far: int, context: Context) -> None: ...

    shop, near, far = Shop(), partial(reached, 1), partial(reached, 2)
    handlers.register("close")(shop.close)
    handlers.register("shop")(shop)
    handlers.register("near")(near)
    handlers.register("far")(far)
    kinds = [
        scheduler_in_memory.prepare(shop.close).kind,
        scheduler_in_memory.prepare(shop, 5).kind,
        scheduler_in_memory.prepare(near).kind,
        scheduler_in_memory.prepare(far).kind,
    ]
    assert kinds == ["close", "shop", "near", "far"]


async def test_who_registers_for_a_while_leaves_nothing() -> None:
    def passing(context: Context) -> None: ...

    Handlers().register("passing")(passing)
    remembered = weakref.ref(passing)
    del passing
    gc.collect()
    assert remembered() is None
