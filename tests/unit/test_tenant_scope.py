"""One caller's view of the scheduler, made for each request: what it costs, and what it shares."""

from __future__ import annotations

import asyncio
import inspect
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Scheduler
from taskscheduler.application.client import scheduler as scheduling
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import AuditQuery
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.access import TENANTS
from taskscheduler.testing.contracts.steps import join, subscribed
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from taskscheduler.domain.ports.tasks import TaskRepository

pytestmark = pytest.mark.anyio

ADA = Caller(name="ada")
BOB = Caller(name="bob", queue_prefix="bob.")


@pytest.fixture
def tasks(scheduler_in_memory: Scheduler) -> Any:
    return Faulty(scheduler_in_memory.store.tasks)


@pytest.fixture
def whole(scheduler_in_memory: Scheduler, tasks: TaskRepository) -> Scheduler:
    return Scheduler(replace(scheduler_in_memory.store, tasks=tasks))


OPERATORS = {
    *(
        "batches",
        "change_page",
        "limits",
        "pause_queue",
        "queue",
        "queues",
        "resume_queue",
        "workers",
    ),
}
"""Verbs that see more than a tenant's queues: no route that is open to tenants calls them."""
MADE_OF_OTHERS = {"commits", "prepare", "result", "schedule", "schedule_many"}
"""They store, and look, by verbs that are narrowed."""


def test_no_verb_of_the_scheduler_is_forgotten():
    """A verb that is added is narrowed by the view, or is said here to need none."""
    verbs = {name for name in dir(Scheduler) if not name.startswith("_")}
    verbs -= {"in_memory", "postgres"}
    assert sorted(verbs - vars(TenantScheduler).keys() - OPERATORS - MADE_OF_OTHERS) == []


def test_no_route_for_tenants_calls_what_is_an_operators(scheduler_in_memory: Scheduler):
    app: Any = create_app(scheduler_in_memory)
    handlers = {
        handler
        for route in app.routes
        for handler in getattr(route, "route_handlers", [])
        if handler.opt.get(TENANTS)
    }
    assert len(handlers) > 20
    for handler in handlers:
        called = set(re.findall(r"\bscheduler\.(\w+)", inspect.getsource(handler.fn)))
        assert called.isdisjoint(OPERATORS), (handler.fn.__name__, called & OPERATORS)


def test_a_view_brings_no_commits_of_its_own(whole: Scheduler, monkeypatch: pytest.MonkeyPatch):
    def build(_: object) -> None:
        pytest.fail("it is made for every request, and would be thrown away")

    monkeypatch.setattr(scheduling, "GroupCommit", build)
    assert TenantScheduler(whole, ADA).commits is whole.commits
    assert TenantScheduler(TenantScheduler(whole, ADA), BOB).commits is whole.commits


async def test_callers_share_commits_and_each_is_named_for_its_own(whole: Scheduler, tasks: Any):
    """As many as come while one commit is under way share the next."""
    let_go = tasks.hold("put")
    views = [TenantScheduler(whole, ADA if number % 2 else BOB) for number in range(20)]
    puts = [asyncio.create_task(view.schedule("mail", queue="bob.a")) for view in views]
    for _ in range(3):
        await asyncio.sleep(0)
    let_go()
    ids = await asyncio.gather(*puts)
    assert tasks.calls["put"] == 2, "the first alone, all others together"
    told = {each.task_id: each.actor for each in await whole.store.audit.list(AuditQuery())}
    assert told == {task_id: ("ada" if n % 2 else "bob") for n, task_id in enumerate(ids)}


async def test_a_tenant_is_not_told_on_which_machine_its_task_runs(whole: Scheduler):
    """That a worker holds it is enough; its name is that of its machine."""
    task_id = await whole.schedule("mail", queue="bob.a")
    store = whole.store
    worker_id = await join(store, queues=["bob.a"])
    await store.tasks.claim(worker_id, subscribed("mail", queues=["bob.a"]), 1)
    told = {
        by.name: (await TenantScheduler(whole, by).why(task_id)).causes[0].detail
        for by in (ADA, BOB)
    }
    assert told["ada"] == f"worker {worker_id} (worker of a test) holds it"
    assert told["bob"] == f"worker {worker_id} holds it"
