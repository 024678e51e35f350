"""One caller's view of the scheduler, made for each request: what it costs, and what it shares."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Scheduler
from taskscheduler.application.client import scheduler as scheduling
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.domain.access import Caller
from taskscheduler.domain.audit import AuditQuery
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
