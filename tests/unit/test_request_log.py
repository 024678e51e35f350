"""Every request has a name and leaves one line in the log, without what might be secret."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskscheduler.application.client.api_keys import KeyAuthenticator, issue
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.access import Scope
from taskscheduler.domain.status import TaskStatus
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.access import Access
from taskscheduler.entrypoints.http.middleware.request_log import with_request_log
from taskscheduler.entrypoints.logs import configure_logs
from taskscheduler.entrypoints.request_metrics import REQUEST_ID, Requests
from taskscheduler.entrypoints.settings import LogFormat, LogLevel
from taskscheduler.testing import ManualClock, in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from litestar import Litestar

pytestmark = pytest.mark.anyio

GENERATED = re.compile(r"[0-9a-f]{32}")
HIDDEN = "s3cret"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def calling(app: Litestar) -> AsyncGenerator[httpx.AsyncClient]:
    served: Any = app
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://t") as asked:
        yield asked


@asynccontextmanager
async def service(**options: Any) -> AsyncGenerator[httpx.AsyncClient]:
    async with calling(create_app(in_memory(ManualClock()), kinds={"Foo": 3}, **options)) as asked:
        yield asked


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "taskscheduler.access"]


CALLS = [
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 200),
    ("GET", "/metrics", 200),
    ("GET", "/schema/openapi.json", 200),
    ("PUT", "/tasks", 400),
    ("GET", "/tasks/nonsense", 400),
    ("GET", "/tasks/0190163d-8694-739b-aea5-966c26f8ad90", 404),
    ("GET", "/nowhere", 404),
    ("BREW", "/tasks", 405),
    ("DELETE", "/healthz", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), CALLS)
async def test_every_answer_has_the_name_that_was_given(method: str, path: str, status: int):
    async with service() as client:
        answer = await client.request(method, path, headers={"X-Request-ID": "r-1.2:x/y=z@a+b~c_d"})
        assert answer.status_code == status
        assert answer.headers.get_list("x-request-id") == ["r-1.2:x/y=z@a+b~c_d"]
        unnamed = await client.request(method, path)
        assert GENERATED.fullmatch(unnamed.headers["x-request-id"])


async def test_a_fault_and_a_page_from_elsewhere_are_answered_under_the_name_too():
    async with service() as client:
        elsewhere = {"Origin": "http://elsewhere.example", "X-Request-ID": "r-2"}
        answer = await client.get("/tasks", headers=elsewhere)
        assert (answer.status_code, answer.headers["x-request-id"]) == (403, "r-2")
        with patch.object(Scheduler, "list", side_effect=RuntimeError(HIDDEN)):
            answer = await client.get("/tasks", headers={"X-Request-ID": "r-3"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (500, "r-3")


@pytest.mark.parametrize(
    "given", [b"", b"x" * 129, b"a b", b"a\x7fb", b"\xe9", b"\x1b[31m", b"a,b"]
)
async def test_a_name_without_the_form_is_replaced(given: bytes):
    async with service() as client:
        answer = await client.get("/healthz", headers=[(b"X-Request-ID", given)])
        assert GENERATED.fullmatch(answer.headers["x-request-id"])


async def test_of_two_names_neither_is_taken():
    async with service() as client:
        twice = [("X-Request-ID", "a"), ("X-Request-ID", "b")]
        answer = await client.get("/healthz", headers=twice)
        assert GENERATED.fullmatch(answer.headers["x-request-id"])


async def test_a_request_leaves_one_line_without_query_headers_and_body(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG)
    clock = ManualClock()
    scheduler = in_memory(clock)
    app = create_app(
        scheduler,
        kinds={"Foo": 3},
        access=Access(gate=KeyAuthenticator(scheduler.store.keys, clock)),
    )
    async with calling(app) as client:
        issued = issue("ada", scope=Scope.WRITE)
        await scheduler.store.keys.add(issued.key)
        headers = {"Authorization": f"Bearer {issued.token}", "X-Other": HIDDEN}
        body = {"kind": "Foo", "payload": {"word": HIDDEN}}
        await client.put(f"/tasks?token={HIDDEN}", json=body, headers=headers)
        made = await client.put("/tasks", json=body, headers=headers)
        task_id = made.json()["id"]
        await client.post(f"/tasks/{task_id}/cancel", headers=headers)
        await client.get(f"/tasks/{task_id}", headers=headers)
        await client.get(f"/tasks?filter=status:{HIDDEN}", headers=headers)
        await client.get("/nowhere%1b%5b31m%0a", headers=headers)
        assert (await client.put("/tasks", json=body)).status_code == 401
    found = lines(caplog)
    assert [(each.levelname, each.getMessage()) for each in found] == [
        ("INFO", "PUT /tasks answered 400"),
        ("INFO", "PUT /tasks answered 201"),
        ("INFO", f"POST /tasks/{task_id}/cancel answered 200"),
        ("DEBUG", f"GET /tasks/{task_id} answered 200"),
        ("INFO", "GET /tasks answered 400"),
        ("INFO", "GET /nowhere%1b%5b31m%0a answered 404"),
        ("INFO", "PUT /tasks answered 401"),
    ]
    first = vars(found[1])
    assert {name: first[name] for name in ("method", "path", "status", "caller", "task_id")} == {
        "method": "PUT",
        "path": "/tasks",
        "status": 201,
        "caller": "ada",
        "task_id": task_id,
    }
    assert first["ms"] > 0
    assert first["key_id"] == issued.key.id
    assert all(vars(each)["task_id"] == task_id for each in found[1:4])
    text = "\n".join(json.dumps(vars(each), default=str) for each in found)
    assert HIDDEN not in text
    assert issued.token not in text
    assert issued.token[21:] not in text


async def test_what_comes_raw_over_the_wire_is_shown_as_plain_text(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG)
    app = create_app(in_memory(ManualClock()))
    answered: list[int] = []

    async def send(message: Any) -> None:
        answered.append(message.get("status", 0))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Any = {
        "type": "http",
        "method": "GET",
        "path": "/\x1b[31m\n" + "x" * 1000,
        "raw_path": b"/\x1b[31m\n" + b"x" * 1000 + b"?token=" + HIDDEN.encode(),
        "query_string": b"token=" + HIDDEN.encode(),
        "headers": [],
        "client": None,
        "server": None,
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    await app(scope, receive, send)
    assert answered[0] == 404
    (line,) = lines(caplog)
    assert line.getMessage().isprintable()
    assert line.getMessage().startswith("GET '/\\x1b[31m\\nxxx")
    assert len(line.getMessage()) < 300
    assert HIDDEN not in line.getMessage()


async def test_no_line_is_written_where_none_is_wanted(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    async with service(access_log=False) as client:
        assert (await client.put("/tasks", json={"kind": "Foo"})).status_code == 201
        assert "x-request-id" in (await client.get("/nowhere")).headers
    assert lines(caplog) == []


async def test_every_line_of_a_request_has_its_name_and_no_other_line_has(
    capsys: pytest.CaptureFixture[str],
):
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    log = logging.getLogger("somewhere")

    async def seen(*_: Any, **__: Any) -> Any:
        log.info("within")
        return []

    try:
        configure_logs(LogLevel.INFO, LogFormat.JSON)
        async with service() as client:
            with patch.object(Scheduler, "list", seen):
                await client.get("/tasks", headers={"X-Request-ID": "r-1"})
            await client.put("/tasks", json={"kind": "Foo"}, headers={"X-Request-ID": "r-2"})
        log.info("after")
    finally:
        root.handlers[:] = before[1]
        root.setLevel(before[0])
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["event"], each.get("request_id")) for each in told] == [
        ("within", "r-1"),
        ("PUT /tasks answered 201", "r-2"),
        ("after", None),
    ]
    assert REQUEST_ID.get() is None


async def test_metrics_tell_how_long_answers_took_by_route():
    async with service() as client:
        for _ in range(3):
            await client.put("/tasks", json={"kind": "Foo"})
        task = await client.put("/tasks", json={"kind": "Foo"})
        for _ in range(2):
            await client.get(f"/tasks/{task.json()['id']}")
        await client.get("/nowhere")
        await client.get("/elsewhere")
        await client.request("BREW", "/tasks")
        text = (await client.get("/metrics")).text
    counted = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "taskscheduler_http_request_seconds_count"
    }
    assert counted == {
        ("PUT", "/tasks", "201"): 4,
        ("GET", "/tasks/{task_id}", "200"): 2,
        ("GET", "none", "404"): 2,
        ("other", "none", "405"): 1,
    }


async def test_of_a_stream_its_beginning_is_timed():
    requests = Requests()
    clock = iter([10.0, 10.25, 99.0])

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def nothing(*_: Any) -> Any: ...

    scope: Any = {"type": "http", "method": "GET", "path": "/x", "headers": [], "client": None}
    with patch(
        "taskscheduler.entrypoints.http.middleware.request_log.perf_counter", lambda: next(clock)
    ):
        await with_request_log(streaming, requests)(scope, nothing, nothing)
    assert requests.took_s["GET", "none", 200].sum == pytest.approx(0.25)


async def test_a_caller_who_goes_without_an_answer_is_told_of(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    requests = Requests()

    async def cancelled(*_: Any) -> None:
        raise asyncio.CancelledError

    async def nothing(*_: Any) -> Any: ...

    scope: Any = {"type": "http", "method": "GET", "path": "/x", "headers": [], "client": None}
    with pytest.raises(asyncio.CancelledError):
        await with_request_log(cancelled, requests)(scope, nothing, nothing)
    assert list(requests.took_s) == [("GET", "none", 0)]
    assert [line.getMessage() for line in lines(caplog)] == ["GET /x went without an answer"]
    assert REQUEST_ID.get() is None


async def test_a_commit_for_many_is_in_nobodys_name():
    """Else every later commit would go on in the name of the first."""
    scheduler = in_memory(ManualClock())
    seen: list[tuple[str | None, int]] = []
    storing = scheduler.store.tasks.put

    async def put(tasks: Any) -> Any:
        seen.append((REQUEST_ID.get(), len(tasks)))
        await asyncio.sleep(0)
        return await storing(tasks)

    with patch.object(scheduler.store.tasks, "put", put):
        async with calling(create_app(scheduler, kinds={"Foo": 3})) as client:
            asked = (
                client.put("/tasks", json={"kind": "Foo"}, headers={"X-Request-ID": f"r-{index}"})
                for index in range(5)
            )
            answers = await asyncio.gather(*asked)
    assert [answer.headers["x-request-id"] for answer in answers] == [f"r-{i}" for i in range(5)]
    assert sum(count for _, count in seen) == 5
    assert all(name is None for name, count in seen if count > 1)
    assert max(count for _, count in seen) > 1


@pytest.mark.parametrize("form", [LogFormat.TEXT, LogFormat.JSON])
def test_a_constant_is_written_as_what_it_stands_for(
    capfd: pytest.CaptureFixture[str], form: LogFormat
):
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        configure_logs(LogLevel.INFO, form)
        facts = {"status": HTTPStatus.CREATED, "outcome": TaskStatus.FAILED, "ms": 1.5}
        logging.getLogger("taskscheduler.access").info("PUT /tasks", extra=facts)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    line = re.sub(r"\x1b\[[0-9;]*m", "", capfd.readouterr().err)
    assert "HTTPStatus" not in line
    assert "TaskStatus" not in line
    assert "status=201" in line or '"status": 201' in line
    assert "outcome=Failed" in line or '"outcome": "Failed"' in line
