"""The plugin for Litestar: a dependency, a worker in the process, and the calls under a path."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
import pytest
from litestar import Litestar, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.testing import TestClient

from taskscheduler import Context, Handlers, Scheduler, TaskSchedulerPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

handlers = Handlers()
welcomed: list[str] = []


@handlers.register("welcome")
async def welcome(context: Context, name: str) -> None:
    welcomed.append(name)


@post("/members/{name:str}")
async def sign_up(name: FromPath[str], scheduler: NamedDependency[Scheduler]) -> str:
    return str(await scheduler.schedule(welcome, name))


@pytest.fixture
def web() -> Iterator[TestClient[Litestar]]:
    plugin = TaskSchedulerPlugin(Scheduler.in_memory(), handlers=handlers, path="/jobs")
    with TestClient(Litestar([sign_up], plugins=[plugin])) as client:
        yield client


def test_it_schedules_runs_and_shows(web: TestClient[Litestar]):
    task_id = web.post("/members/Ada").text
    ends_at = time.monotonic() + 20
    while (task := web.get(f"/jobs/tasks/{task_id}").json())["status"] != "Completed":
        assert time.monotonic() < ends_at, task
    assert welcomed == ["Ada"]
    stored = web.put("/jobs/tasks", json={"kind": "welcome", "payload": "Bob"})
    assert stored.status_code == 201, stored.text
    assert stored.headers["Location"] == f"/jobs/tasks/{stored.json()['id']}"
    assert web.put("/jobs/tasks", json={"kind": "unheard-of"}).status_code == 400
    assert web.get("/tasks").status_code == 404


def test_the_dashboard_and_all_calls_are_there_behind_guards():
    def let_in(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if connection.headers.get("x-who") != "operator":
            raise NotAuthorizedException

    plugin = TaskSchedulerPlugin(
        Scheduler.in_memory(), path="/jobs", dashboard=True, guards=[let_in]
    )
    with TestClient(Litestar([sign_up], plugins=[plugin])) as client:
        for call in ("", "dashboard/main.js", "queues", "workers", "schedules", "limits", "tasks"):
            assert client.get(f"/jobs/{call}").status_code == 401, call
            answer = client.get(f"/jobs/{call}", headers={"x-who": "operator"})
            assert answer.status_code == 200, (call, answer.text)
        assert client.post("/members/Ada").status_code == 201


def test_the_command_line_is_a_command_of_litestars(capsys: pytest.CaptureFixture[str]):
    group = click.Group("litestar")
    TaskSchedulerPlugin(Scheduler.in_memory()).on_cli_init(group)
    with pytest.raises(SystemExit) as ended:
        group.main(["tasks", "migrate", "--help"], standalone_mode=False)
    assert ended.value.code == 0
    assert "--check" in capsys.readouterr().out


def test_without_handlers_and_path_it_only_injects():
    plugin = TaskSchedulerPlugin(Scheduler.in_memory())
    with TestClient(Litestar([sign_up], plugins=[plugin])) as client:
        assert client.post("/members/Ada").status_code == 201
        assert client.get("/tasks").status_code == 404
