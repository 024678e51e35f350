"""Each call is made to fail in every way there is: what it answers is what its document says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx
import jsonschema
import pytest

from taskscheduler import Scheduler
from taskscheduler.application.client.api_keys import STALE_AFTER_S, KeyAuthenticator, issue
from taskscheduler.application.client.schedules import RACES_MAX
from taskscheduler.domain.access import Scope
from taskscheduler.domain.errors import ScheduleChanged, ScheduleUnread
from taskscheduler.domain.limit import Limit
from taskscheduler.domain.schedule import NewSchedule
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.access import Access, RateLimit
from taskscheduler.testing import ManualClock, in_memory
from taskscheduler.testing.contracts.steps import lease_one
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from litestar import Litestar

pytestmark = pytest.mark.anyio

BODY_BYTES_MAX: Final = 2048
CALLS_S: Final = 1000.0
NOBODYS: Final = "018e917e-0000-7000-8000-000000000000"
EDIT: Final = {"priority": 1}
METHODS: Final = {"get", "put", "post", "patch", "delete"}
SCHEDULE: Final = {"kind": "Foo", "cron": "@daily"}
LIMIT: Final = {"concurrency": 2}
SPAN: Final = {"from": "2024-03-28T00:00:00Z", "to": "2024-03-29T00:00:00Z"}
NEEDS_NO_MORE: Final = {
    "GET /tasks",
    "GET /tasks/{task_id}",
    "GET /tasks/{task_id}/attempts",
    "GET /tasks/{task_id}/why",
    "GET /tasks/{task_id}/result",
    "GET /schedules",
    "GET /schedules/{name}",
    "GET /schedules/{name}/preview",
    "GET /schedules/{name}/fires",
}
"""Every key reaches these, so no key is refused with a 403."""

Ask = tuple[str, dict[str, Any]]


class Service:
    """The application over a store in memory whose parts can be away, and keys for it."""

    def __init__(self, *, closed: bool) -> None:
        self.clock = ManualClock()
        whole = in_memory(self.clock).store
        self.keys: Any = Faulty(whole.keys)
        self.upkeep: Any = Faulty(whole.upkeep)
        self.board: Any = Faulty(whole.board)
        self.schedules: Any = Faulty(whole.schedules)
        parts = {
            "keys": self.keys,
            "upkeep": self.upkeep,
            "board": self.board,
            "schedules": self.schedules,
        }
        self.store = replace(whole, **parts)
        self.limit = RateLimit(CALLS_S, self.clock)
        gate = KeyAuthenticator(self.keys, self.clock, sleep=self.sleep)
        access = Access(gate=gate, limit=self.limit) if closed else None
        self.scheduler = Scheduler(self.store)
        self.app: Litestar = create_app(
            self.scheduler, kinds={"Foo": 1}, body_bytes_max=BODY_BYTES_MAX, access=access
        )
        self.tokens: dict[str, str] = {}
        self.client: Any = None

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    async def ask(
        self, call: str, at: str, key: str | None = "admin", **request: Any
    ) -> httpx.Response:
        headers = dict(request.pop("headers", {}))
        if key in self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens[key]}"
        return await self.client.request(call.split(maxsplit=1)[0], at, headers=headers, **request)

    async def task(self, *, cancelled: bool = False) -> str:
        answer = await self.ask("PUT", "/tasks", json={"kind": "Foo"})
        task_id = answer.json()["id"]
        if cancelled:
            assert (await self.ask("POST", f"/tasks/{task_id}/cancel")).status_code == 200
        return task_id


async def serve(*, closed: bool) -> AsyncGenerator[Service]:
    service = Service(closed=closed)
    served: Any = service.app
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with (
        service.app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        service.client = client
        if closed:
            for name, scope, prefix in (
                ("admin", Scope.ADMIN, None),
                ("busy", Scope.ADMIN, None),
                ("read", Scope.READ, None),
                ("tenant", Scope.ADMIN, "acme."),
            ):
                issued = issue(name, scope=scope, queue_prefix=prefix)
                await service.store.keys.add(issued.key)
                service.tokens[name] = issued.token
        yield service


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async for each in serve(closed=True):
        yield each


def operations(*, closed: bool) -> dict[str, dict[str, Any]]:
    document = Service(closed=closed).app.openapi_schema.to_schema()
    found: dict[str, Any] = document["paths"]
    return {
        f"{method.upper()} {path}": operation | {"components": document["components"]}
        for path, calls in found.items()
        for method, operation in calls.items()
        if method in METHODS
    }


OPERATIONS: Final = operations(closed=True)
OPEN: Final = operations(closed=False)


def at(call: str, value: str) -> str:
    """Return the path of ``call`` with ``value`` for its parameter."""
    path = call.split()[1]
    for each in ("{task_id}", "{name}", "{batch_id}"):
        path = path.replace(each, value)
    return path


def sent(call: str) -> dict[str, Any]:  # noqa: PLR0911 - a way each
    """Return the body that ``call`` needs to come as far as its task."""
    if call in {"PUT /limits/{name}", "PATCH /limits/{name}"}:
        return {"json": LIMIT}
    if call.startswith("PATCH"):
        return {"json": EDIT}
    if call == "POST /schedules":
        return {"json": {"name": "nightly", **SCHEDULE}}
    if call == "POST /batches":
        return {"json": {"then": {"kind": "Foo"}}}
    if call == "PUT /schedules/{name}":
        return {"json": SCHEDULE}
    if call.endswith("/backfill"):
        return {"json": SPAN}
    return {"json": [{"kind": "Foo"}] if call.endswith("/batch") else {"kind": "Foo"}}


async def racing(service: Service, call: str) -> Ask | None:
    """Return how to change a schedule that has the name, or that others change all the while."""
    schedules = service.scheduler.schedules
    await schedules.put(NewSchedule(name="nightly", kind="Foo", cron="@daily"))
    good = sent(call)
    match call.split():
        case ["POST", "/schedules"]:
            return at(call, ""), good
        case ["PUT" | "PATCH", _]:
            good = {"json": good["json"] | EDIT}
        case [_, "/schedules/{name}/pause"]:
            pass
        case [_, "/schedules/{name}/resume"]:
            await schedules.pause("nightly")
        case _:
            return None
    service.schedules.refuse("replace", *[ScheduleChanged("nightly")] * RACES_MAX)
    return at(call, "nightly"), good


async def conflicting(service: Service, call: str) -> Ask | None:  # noqa: PLR0911 - a way each
    """Return what makes ``call`` conflict with what is there; None if nothing does."""
    verb = call.rpartition("/")[2]
    match call.split():
        case [_, "/tasks/cancel" | "/tasks/retry" | "/tasks/delete"]:
            forbidding = {"cancel": "Completed", "retry": "Pending", "delete": "InProgress"}
            return at(call, ""), {"params": {"filter": f"status:{forbidding[verb]}"}}
        case ["POST", "/batches" as path]:
            taken = {"id": await service.task(), "kind": "Foo", "payload": "other"}
            return path, {"json": {"then": taken}}
        case ["PUT" | "POST", "/tasks" | "/tasks/batch" as path]:
            other: Any = {"id": await service.task(), "kind": "Foo", "payload": "other"}
            return path, {"json": [other] if verb == "batch" else other}
        case ["DELETE", "/tasks/{task_id}"]:
            return at(call, str((await lease_one(service.store)).task_id)), {}
        case ["PATCH", "/tasks/{task_id}"] | [
            _,
            "/tasks/{task_id}/cancel" | "/tasks/{task_id}/run" | "/tasks/{task_id}/signals/{name}",
        ]:
            return at(call, await service.task(cancelled=True)), sent(call)
        case [_, "/tasks/{task_id}/retry"]:
            return at(call, await service.task()), {}
        case _:
            return None


async def provoked(service: Service, call: str) -> AsyncGenerator[httpx.Response]:
    """Make ``call`` fail in every way; yield the answers."""
    nowhere, good = at(call, NOBODYS), sent(call)
    yield await service.ask(call, nowhere, None, **good)
    if call in {"PUT /tasks", "POST /tasks", "POST /tasks/batch"}:
        late: Any = {"kind": "Foo", "after": [NOBODYS]}
        yield await service.ask(call, nowhere, json=[late] if call.endswith("/batch") else late)
    for key in ("read", "tenant"):
        yield await service.ask(call, nowhere + "?nonsense=1", key, **good)
    yield await service.ask(call, at(call, "a b") + "?nonsense=1", **good)
    if "/events" not in call:  # which would go on for ever
        yield await service.ask(call, at(call, "a b"), content=b"{")
        yield await service.ask(call, nowhere, **good)
        yield await service.ask(call, nowhere, content=b" " * (BODY_BYTES_MAX + 1))
    if "{task_id}" in call:
        headers = {"If-Match": '"another"'}
        yield await service.ask(call, at(call, await service.task()), headers=headers, **good)
    if "/limits/{name}" in call:
        await service.scheduler.limits.put(Limit(name="mail", concurrency=1))
        headers = {"If-Match": '"another"'}
        yield await service.ask(call, at(call, "mail"), headers=headers, **good)
    look = racing if "/schedules" in call else conflicting
    if (conflict := await look(service, call)) is not None:
        yield await service.ask(call, conflict[0], **conflict[1])
    if "/schedules/{name}" in call:
        # Written by a newer version. Who reaches all schedules may delete it all the same.
        service.schedules.refuse("get", ScheduleUnread("nightly", "overlap: buffer_two"))
        yield await service.ask(call, at(call, "nightly"), "tenant", **good)
    for _ in range(int(CALLS_S)):
        service.limit.take(service.tokens["busy"][4:20])
    yield await service.ask(call, nowhere + "?nonsense=1", "busy", **good)
    service.keys.refuse("active")
    service.upkeep.refuse("schema_version")
    service.clock.advance(seconds=STALE_AFTER_S)
    yield await service.ask(call, nowhere + "?nonsense=1", **good)


def check(answer: httpx.Response, operation: Mapping[str, Any]) -> None:
    """See that a refusal is what ``operation`` says of it."""
    documented = operation["responses"].get(str(answer.status_code))
    assert documented is not None, f"not documented: {answer.status_code} {answer.text}"
    ((media, content),) = documented["content"].items()
    assert answer.headers["content-type"] == media
    schema = content["schema"] | {"components": operation["components"]}
    jsonschema.validate(answer.json(), schema, jsonschema.Draft202012Validator)
    for name, header in documented.get("headers", {}).items():
        assert name in answer.headers or not header["required"], (name, answer.text)


@pytest.mark.parametrize("call", OPERATIONS)
async def test_what_is_answered_is_documented_and_what_is_documented_is_answered(
    service: Service, call: str
):
    """Where this fails for a call that was added, it needs a way to be made to fail."""
    operation = OPERATIONS[call]
    found: set[int] = set()
    async for answer in provoked(service, call):
        if answer.status_code >= 400:
            check(answer, operation)
            found.add(answer.status_code)
    documented = {int(status) for status in operation["responses"] if int(status) >= 400}
    assert found == documented - ({403} if call in NEEDS_NO_MORE else set())


@pytest.mark.parametrize("call", OPEN)
async def test_an_open_service_documents_what_it_tells_the_pages_of_others(call: str):
    async for service in serve(closed=False):
        headers = {"Origin": "https://elsewhere.example"}
        answer = await service.ask(call, at(call, NOBODYS), headers=headers)
        assert answer.status_code == 403
        check(answer, OPEN[call])


async def test_where_the_store_is_away_it_is_said_when_to_come_again():
    """Past the keys, too, which are not asked for here."""
    async for service in serve(closed=False):
        service.board.refuse("list")
        answer = await service.ask("GET", "/tasks")
        assert answer.status_code == 503
        check(answer, OPEN["GET /tasks"])
