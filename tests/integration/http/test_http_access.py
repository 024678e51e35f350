"""Who may call what: every route of the application, with every sort of key."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import get, post
from litestar.routes import HTTPRoute

from taskscheduler.application.client.api_keys import STALE_AFTER_S, KeyAuthenticator, issue
from taskscheduler.application.client.change_feed import ChangeFeed
from taskscheduler.domain.access import Scope
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.access import (
    READING,
    SCOPE,
    TENANTS,
    Access,
    RateLimit,
    needed_by,
)
from taskscheduler.entrypoints.http.middleware.browser_security import add_headers
from taskscheduler.testing import ManualClock, in_memory
from tests.integration.http.answers import problem, put
from tests.integration.processes import Programs, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from litestar import Litestar

    from taskscheduler.application.client.change_feed import Changes
    from taskscheduler.application.client.scheduler import Scheduler

pytestmark = pytest.mark.anyio

Call = tuple[str, str, Mapping[str, Any]]
OPEN_PATHS = re.compile(r"/(healthz|readyz|schema(/.*)?|dashboard/.*)?")
ADMIN_PATHS = {"/audit"}
ADMIN_CHANGES = {"/limits/{name:str}"}
"""What all see and few may change."""
TENANT = "acme."
NIGHTLY = {"kind": "Foo", "cron": "@daily", "queue": TENANT + "a"}
BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "/tasks/{task_id:str}"): {"priority": 1},
    ("PATCH", "/schedules/{name:str}"): {"priority": 1},
    ("PUT", "/schedules/{name:str}"): NIGHTLY,
    ("POST", "/schedules/{name:str}/backfill"): {
        "from": "2026-01-01T00:00:00Z",
        "to": "2026-01-02T00:00:00Z",
    },
}
"""What a call needs to come as far as its task. Others are called with ``{}``."""
REFUSED_QUERY = {"/events": "/events?nonsense=1"}
"""Of calls that would be answered for ever: what lets them end once the key was looked at."""
WITHOUT_ID = {
    ("PUT", "/tasks"),
    ("POST", "/tasks"),
    ("GET", "/tasks"),
    ("POST", "/tasks/batch"),
    ("GET", "/schedules"),
    ("POST", "/schedules"),
}
"""Routes for tenants that name nothing in their path: each has a test of its own below."""


@dataclass
class Service:
    """The application on a store in memory, and a key of every sort."""

    clock: ManualClock
    scheduler: Scheduler
    app: Litestar
    client: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    async def key(self, name: str, **fields: Any) -> str:
        """Add a key; return its token."""
        issued = issue(name, **fields)
        await self.scheduler.store.keys.add(issued.key)
        self.tokens[name] = issued.token
        return issued.token

    async def ask(
        self, method: str, path: str, key: str | None = None, **request: Any
    ) -> httpx.Response:
        """Call with the key that is named so, or the very header."""
        headers = dict(request.pop("headers", {}))
        if key is not None:
            token = self.tokens.get(key)
            headers["Authorization"] = key if token is None else f"Bearer {token}"
        return await self.client.request(method, path, headers=headers, **request)

    async def schedule(self, name: str, key: str = "write", **fields: Any) -> str:
        """Make a schedule with a key; return its name."""
        body = {"name": name, **NIGHTLY, **fields}
        answer = await self.ask("POST", "/schedules", key, json=body)
        assert answer.status_code == 201, answer.text
        return name

    async def store(self, key: str, **fields: Any) -> str:
        """Store a task with a key; return its id."""
        answer = await self.ask("PUT", "/tasks", key, json={"kind": "Foo", **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def serve(limit: float | None = None, **options: Any) -> AsyncGenerator[Service]:
    clock = ManualClock()
    scheduler = in_memory(clock)

    async def sleep(seconds: float) -> None:
        clock.advance(seconds=seconds)

    rate = None if limit is None else RateLimit(limit, clock)
    access = Access(gate=KeyAuthenticator(scheduler.store.keys, clock, sleep=sleep), limit=rate)
    given: dict[str, Any] = {"access": access, **options}
    app = create_app(scheduler, kinds={"Foo": 3}, **given)
    served: Any = app  # each has its own name for what an application is
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        service = Service(clock, scheduler, app, client)
        for scope in Scope:
            await service.key(scope.value, scope=scope)
        await service.key("expired", scope=Scope.ADMIN, expires=timedelta(microseconds=1))
        await service.key("tenant", scope=Scope.WRITE, queue_prefix=TENANT)
        await service.key("tenant-admin", scope=Scope.ADMIN, queue_prefix=TENANT)
        await service.key("other-tenant", scope=Scope.ADMIN, queue_prefix="other.")
        await service.key("revoked", scope=Scope.ADMIN)
        await scheduler.store.keys.revoke(service.tokens["revoked"][4:20])
        clock.advance(seconds=1)
        yield service


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async for each in serve():
        yield each


def routes(app: Litestar) -> list[Call]:
    """Return every call that the application answers: method, path, what the route declares."""
    return [
        (method, route.path, handler.opt)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
    ]


def filled(path: str, value: str) -> str:
    """Return ``path`` with ``value`` for each of its parameters."""
    return re.sub(r"\{[^}]*\}", value, path)


CALLS = routes(create_app(in_memory()))
GUARDED = [(m, p, opt) for m, p, opt in CALLS if needed_by(opt, m) is not None]


def named(call: Call) -> str:
    return f"{call[0]} {call[1]}"


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_every_route_says_what_it_needs(call: Call):
    """One that is added without saying so fails here: that must not be left to a default."""
    method, path, opt = call
    if method == "OPTIONS" and SCOPE not in opt:
        assert needed_by(opt, method) is Scope.READ  # made by the framework
        return
    assert opt.get(SCOPE) in {"open", *Scope}, f"{named(call)}: opt=reached_by(…) is missing"
    assert (opt[SCOPE] == "open") == (OPEN_PATHS.fullmatch(path) is not None), path


@pytest.mark.parametrize("call", GUARDED, ids=named)
def test_no_route_needs_less_than_it_should(call: Call):
    """To look is to read, all else is to write, and what tells of everybody is for few."""
    method, path, opt = call
    changes = path in ADMIN_CHANGES and method not in READING
    if (path in ADMIN_PATHS and method != "OPTIONS") or changes:
        expected = Scope.ADMIN
    else:
        expected = Scope.READ if method in READING else Scope.WRITE
    assert needed_by(opt, method) is expected


async def test_there_is_no_way_in_that_the_guard_does_not_see(service: Service):
    """Mounted applications and web sockets have no ``opt`` that the tests here would look at."""
    assert {type(route) for route in service.app.routes} == {HTTPRoute}
    for app in (service.app, create_app(in_memory())):
        assert sorted(map(named, routes(app))) == sorted(map(named, CALLS))


async def test_a_route_without_rules_is_closed(service: Service):
    """Whatever the tests say: who forgets them opens nothing."""

    @get("/forgotten/look")
    async def look() -> dict[str, str]:
        return {"secret": "seen"}

    @post("/forgotten/change")
    async def change() -> dict[str, str]:
        return {"secret": "changed"}

    service.app.register(look)
    service.app.register(change)
    for method, path in (("GET", "/forgotten/look"), ("POST", "/forgotten/change")):
        for key in WRONG.values():
            answer = await service.ask(method, path, key)
            problem(answer, 401)
        for tenant in ("tenant", "tenant-admin", "other-tenant"):
            problem(await service.ask(method, path, tenant), 403)
        assert (await service.ask(method, path, "admin")).is_success
    assert (await service.ask("GET", "/forgotten/look", "read")).is_success
    problem(await service.ask("POST", "/forgotten/change", "read"), 403)


def test_a_route_that_says_nothing_is_closed_to_tenants_and_needs_what_its_method_does():
    assert [needed_by({}, m) for m in ("GET", "HEAD", "OPTIONS")] == [Scope.READ] * 3
    changing = ("PUT", "POST", "PATCH", "DELETE", "TRACE")
    assert [needed_by({}, m) for m in changing] == [Scope.WRITE] * 5


WRONG = {
    "none": None,
    "unknown": "Bearer tsk_" + "0" * 16 + "_" + "0" * 64,
    "no token": "Bearer tsk_0",
    "expired": "expired",
    "revoked": "revoked",
}


@pytest.mark.parametrize("call", GUARDED, ids=named)
async def test_the_matrix(service: Service, call: Call):
    """Every sort of key on one route."""
    method, path, opt = call
    needed = needed_by(opt, method)
    assert needed is not None
    found = (
        await service.schedule("nightly")
        if path.startswith("/schedules")
        else await service.store("write", queue=TENANT + "a")
    )
    at = filled(REFUSED_QUERY.get(path, path), found)
    body = BODIES.get((method, path), {})
    for what, key in WRONG.items():
        answer = await service.ask(method, at, key, json=body)
        assert answer.status_code == 401, (what, answer.text)
        asked_for = answer.headers["www-authenticate"]
        assert asked_for.startswith('Bearer realm="taskscheduler"')
        assert ("error=" in asked_for) == (key is not None)
        problem(answer, 401)
    known = await service.ask("GET", "/tasks", "read")
    wrong = service.tokens["admin"][:-64] + "0" * 64
    answer = await service.ask(method, at, f"Bearer {wrong}", json=body)
    assert known.status_code == 200
    problem(answer, 401)
    for scope in Scope:
        if scope.reaches(needed):
            continue
        answer = await service.ask(method, at, scope.value, json=body)
        problem(answer, 403)
        assert f'error="insufficient_scope", scope="{needed}"' in answer.headers["www-authenticate"]
    if not opt.get(TENANTS):
        problem(await service.ask(method, at, "tenant-admin", json=body), 403)
    elif "{" in path and method != "OPTIONS":
        hidden = 403 if body is NIGHTLY else 404  # it names the other's queue itself
        problem(await service.ask(method, at, "other-tenant", json=body), hidden)
    else:
        assert (method, path) in WITHOUT_ID or method == "OPTIONS", "it needs a test of its own"
    # Last, because it may delete what it finds.
    for key in ("tenant-admin",) * bool(opt.get(TENANTS)) + ("admin", needed.value):
        answer = await service.ask(method, at, key, json=body)
        assert answer.status_code not in {401, 403}, (key, answer.text)
        assert answer.status_code < 500, (key, answer.text)


@pytest.mark.parametrize(
    "call", [each for each in CALLS if needed_by(each[2], each[0]) is None], ids=named
)
async def test_open_routes_ask_nobody_who_he_is(service: Service, call: Call):
    method, path, _ = call
    for key in (None, "expired", "Basic Zm9v", "read"):
        answer = await service.ask(method, filled(path, "x"), key)
        assert answer.status_code in {200, 204, 404}, (key, answer.text)
        assert answer.status_code != 404 or "{" in path


async def test_paths_that_are_no_routes_tell_nothing(service: Service):
    for path in ("/nothing", "/tasks/x/y/z", "/tasks//", "/TASKS"):
        assert (await service.ask("GET", path)).status_code in {401, 404}


# -- tenants -------------------------------------------------------------------------------------


async def test_a_tenant_sees_only_its_own(service: Service):
    ours = await service.store("tenant", queue="acme.mail")
    theirs = await service.store("other-tenant", queue="other.mail")
    nobodys = await service.store("write")

    async def seen(key: str, query: str = "") -> set[str]:
        answer = await service.ask("GET", f"/tasks{query}", key)
        assert answer.status_code == 200, answer.text
        return {task["id"] for task in answer.json()}

    assert await seen("read") == {ours, theirs, nobodys}
    assert await seen("tenant") == {ours}
    assert await seen("other-tenant") == {theirs}
    assert await seen("tenant", "?filter=queue:acme.mail") == {ours}
    assert await seen("tenant", "?filter=queue:other.mail") == set()
    assert await seen("tenant", "?filter=kind:Foo&filter=status:Pending") == {ours}
    for task_id in (theirs, nobodys):
        problem(await service.ask("GET", f"/tasks/{task_id}", "tenant"), 404)
    assert (await service.ask("GET", f"/tasks/{ours}", "tenant")).json()["queue"] == "acme.mail"


async def test_pages_of_a_tenant_are_full(service: Service):
    for number in range(30):
        await service.store("write", queue="acme.a" if number % 3 == 0 else "other.a")
    first = await service.ask("GET", "/tasks?limit=7", "tenant")
    assert len(first.json()) == 7
    second = await service.ask("GET", first.links["next"]["url"], "tenant")
    assert len(second.json()) == 3
    assert "next" not in second.links
    assert {task["queue"] for task in first.json() + second.json()} == {"acme.a"}


async def test_pages_of_a_tenants_schedules_are_full(service: Service):
    for number in range(10, 22):
        await service.schedule(f"s{number}", queue="acme.a" if number % 3 == 0 else "other.a")
    first = await service.ask("GET", "/schedules?limit=3", "tenant")
    assert [each["name"] for each in first.json()] == ["s12", "s15", "s18"]
    second = await service.ask("GET", first.links["next"]["url"], "tenant")
    assert [each["name"] for each in second.json()] == ["s21"]
    assert "next" not in second.links


async def test_another_tenants_schedule_is_taken_and_nothing_more_is_told(service: Service):
    """By no call does one come to see it, or change it."""
    secret = {"payload": {"secret": 1}, "queue": "other.hidden"}
    await service.schedule("theirs", "other-tenant", **secret)
    before = (await service.ask("GET", "/schedules/theirs", "read")).json()
    answers = [
        await service.ask("POST", "/schedules", "tenant", json={"name": "theirs", **NIGHTLY}),
        await service.ask("PUT", "/schedules/theirs", "tenant", json=NIGHTLY),
    ]
    assert {problem(each, 409)["detail"] for each in answers} == {
        "the name 'theirs' belongs to another schedule"
    }
    for method, verb in (("DELETE", ""), ("POST", "/pause"), ("POST", "/trigger")):
        problem(await service.ask(method, f"/schedules/theirs{verb}", "tenant"), 404)
    for change in ({"priority": 1}, {"kind": "Foo"}, {"kind": "Nope"}, {"queue": "acme.a"}):
        problem(await service.ask("PATCH", "/schedules/theirs", "tenant", json=change), 404)
    assert (await service.ask("GET", "/schedules/theirs", "read")).json() == before
    assert (await service.ask("GET", "/tasks", "read")).json() == []


@pytest.mark.parametrize("queue", ["default", "other.mail", "acme", "ACME.mail", "x.acme.mail"])
async def test_a_tenant_stores_only_into_its_own(service: Service, queue: str):
    good, bad = {"kind": "Foo", "queue": "acme.x"}, {"kind": "Foo", "queue": queue}
    for method, path, body in (
        ("PUT", "/tasks", bad),
        ("POST", "/tasks", bad),
        ("POST", "/tasks/batch", [good, bad]),
    ):
        said = problem(await service.ask(method, path, "tenant", json=body), 403)
        assert TENANT in said["detail"]
    problem(await service.ask("PUT", "/tasks", "tenant", json={"kind": "Foo"}), 403)
    assert (await service.ask("GET", "/tasks", "read")).json() == []


async def test_keys_of_tenants_do_not_meet(service: Service):
    """Neither unique keys nor idempotency keys tell what another has stored."""
    ids = {
        await service.store("tenant", queue="acme.a", unique_key="k"),
        await service.store("other-tenant", queue="other.a", unique_key="k"),
        await service.store("write", queue="acme.a", unique_key="k"),
    }
    assert len(ids) == 3
    mine = await service.store("tenant", queue="acme.a", unique_key="k")
    assert mine in ids
    shown = (await service.ask("GET", f"/tasks/{mine}", "tenant")).json()
    assert shown["unique_key"] == "k"
    edit = {"priority": 2}
    tag = (await service.ask("GET", f"/tasks/{mine}", "tenant")).headers["etag"]
    headers = {"If-Match": tag}
    changed = await service.ask("PATCH", f"/tasks/{mine}", "tenant", json=edit, headers=headers)
    assert (changed.status_code, changed.json()["unique_key"]) == (200, "k")
    again = await service.ask("PATCH", f"/tasks/{mine}", "tenant", json=edit, headers=headers)
    problem(again, 412)

    # Nobody else names a tenant's key, whatever it is called.
    for key in ("acme./k", "acme.k", "\x01acme./k"):
        body = {"kind": "Foo", "queue": "acme.a", "unique_key": key}
        answer = await service.ask("PUT", "/tasks", "write", json=body)
        if key.startswith("\x01"):
            assert problem(answer, 400)["errors"][0]["path"] == "$.unique_key"
        else:
            assert answer.json()["id"] not in ids
    # As long as anybody's, and shown as it was given.
    longest = "k" * 512
    stored = await service.store("tenant", queue="acme.a", unique_key=longest)
    assert await service.store("tenant", queue="acme.a", unique_key=longest) == stored
    shown = (await service.ask("GET", f"/tasks/{stored}", "tenant")).json()
    assert shown["unique_key"] == longest

    async def named(key: str, queue: str, priority: int = 5) -> httpx.Response:
        body = {"kind": "Foo", "queue": queue, "priority": priority}
        headers = {"Idempotency-Key": "once"}
        return await service.ask("POST", "/tasks", key, json=body, headers=headers)

    first = (await named("tenant", "acme.a")).json()
    assert (await named("tenant", "acme.a")).json() == first
    assert (await named("other-tenant", "other.a")).json() != first
    assert (await named("write", "acme.a")).json() != first
    said = problem(await named("tenant", "acme.a", priority=6), 409)
    assert "'once'" in said["detail"]


async def test_another_tenants_id_is_taken_and_nothing_more_is_told(service: Service):
    theirs = await service.store("other-tenant", queue="other.a", payload={"secret": 1})
    body = {"id": theirs, "kind": "Foo", "queue": "acme.a"}
    said = problem(await service.ask("PUT", "/tasks", "tenant", json=body), 409)
    assert "secret" not in said["detail"]
    assert "other.a" not in said["detail"]


# -- hostile headers and bodies --------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "bearer tsk_x",
        "Basic dXNlcjpwYXNz",
        "Token {read}",
        "{read}",
        "Bearer {read} {read}",
        "Bearer {read},Bearer {read}",
        "Bearer\t{read}",
        "Bearer " + "a" * 60_000,
        "Bearer \xff\xfe",
        "Bearer tsk_' OR 1=1 --",
        'Bearer "{read}"',
        "Bearer {read}\x00",
        "Bearer %s{{schema}}",
    ],
)
async def test_a_header_that_is_no_key_is_refused(service: Service, header: str):
    text = header.replace("{read}", service.tokens["read"])
    answer = await service.ask("GET", "/tasks", headers={"Authorization": text.encode("latin-1")})
    said = problem(answer, 401)
    assert service.tokens["read"] not in answer.text
    assert len(said["detail"]) < 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_is_written_as_one_likes(service: Service, scheme: str):
    header = {"Authorization": f"{scheme} {service.tokens['read']}"}
    assert (await service.ask("GET", "/tasks", headers=header)).status_code == 200


async def test_two_keys_are_none(service: Service):
    twice = [("Authorization", f"Bearer {service.tokens[key]}") for key in ("admin", "read")]
    answer = await service.client.request("GET", "/tasks", headers=twice)
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]
    problem(answer, 401)


async def test_a_key_counts_only_in_its_header(service: Service):
    token = service.tokens["admin"]
    requests: tuple[dict[str, Any], ...] = (
        {"params": {"access_token": token}},
        {"headers": {"Cookie": f"access_token={token}"}},
        {"headers": {"X-Api-Key": token}},
        {"headers": {"Proxy-Authorization": f"Bearer {token}"}},
    )
    for request in requests:
        problem(await service.ask("GET", "/tasks", **request), 401)


async def test_who_has_no_key_has_no_body_read(service: Service):
    """A body that is too large, or no JSON, or lies about itself, comes to nobody's ears."""
    for content in (b"{", b"\xff" * 100, b"[" * 100_000, b" " * (16 * 2**20 + 1)):
        problem(await service.ask("PUT", "/tasks", None, content=content), 401)
        problem(await service.ask("PUT", "/tasks", "read", content=content), 403)
    for method in ("PATCH", "DELETE"):
        problem(await service.ask(method, f"/tasks/{uuid4()}?force=true", None), 401)


async def test_a_method_cannot_be_changed_by_a_header(service: Service):
    task_id = await service.store("write")
    headers = {"X-HTTP-Method-Override": "DELETE"}
    answer = await service.ask("GET", f"/tasks/{task_id}", "read", headers=headers)
    assert answer.status_code == 200
    assert (await service.ask("GET", f"/tasks/{task_id}", "read")).status_code == 200


async def test_a_revoked_key_is_refused_within_the_time_said(service: Service):
    assert (await service.ask("GET", "/tasks", "read")).status_code == 200
    await service.scheduler.store.keys.revoke(service.tokens["read"][4:20])
    service.clock.advance(seconds=STALE_AFTER_S)
    problem(await service.ask("GET", "/tasks", "read"), 401)


# -- the audit trail -------------------------------------------------------------------------------


async def audit(service: Service, query: str = "", key: str = "admin") -> list[dict[str, Any]]:
    answer = await service.ask("GET", f"/audit{query}", key)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_is_done_with_a_key_is_written_down(service: Service):
    headers = {"X-Request-Id": "r-1"}
    body = {"kind": "Foo", "queue": "acme.a", "unique_key": "k"}
    answer = await service.ask("PUT", "/tasks", "tenant", json=body, headers=headers)
    task_id = answer.json()["id"]
    at = f"/tasks/{task_id}"
    await service.ask("PUT", "/tasks", "write", json={"kind": "Foo"})
    assert (await service.ask("PATCH", at, "write", json={"priority": 1})).status_code == 200
    for verb in ("run", "cancel", "retry"):
        assert (await service.ask("POST", f"{at}/{verb}", "admin")).status_code == 200
    problem(await service.ask("POST", f"{at}/cancel", "other-tenant"), 404)
    problem(await service.ask("POST", f"{at}/cancel", "read"), 403)
    assert (await service.ask("DELETE", at, "tenant")).status_code == 204
    found = await audit(service, f"?task={task_id}")
    assert [(each["action"], each["actor"]) for each in reversed(found)] == [
        ("created", "tenant"),
        ("changed", "write"),
        ("run", "admin"),
        ("cancelled", "admin"),
        ("retried", "admin"),
        ("deleted", "tenant"),
    ]
    created = found[-1]
    assert created["request_id"] == "r-1"
    assert created["address"] == "127.0.0.1"
    assert created["key_id"] == service.tokens["tenant"][4:20]
    assert created["at"].endswith("Z")
    assert len(await audit(service, "?actor=tenant")) == 2
    by_id = await audit(service, f"?actor={created['key_id']}")
    assert by_id == await audit(service, "?actor=tenant")
    assert len(await audit(service, f"?actor=tenant&task={task_id}")) == 2


async def test_who_pauses_a_queue_is_written_down(service: Service):
    headers = {"X-Request-Id": "r-2"}
    for verb, key in (("pause", "write"), ("pause", "admin"), ("resume", "admin")):
        answer = await service.ask("POST", f"/queues/mail/{verb}", key, headers=headers)
        assert answer.status_code == 200
    problem(await service.ask("POST", "/queues/mail/pause", "read"), 403)
    problem(await service.ask("POST", "/queues/mail/pause", "tenant-admin"), 403)
    await service.store("write", queue="mail")
    found = await audit(service, "?target=mail")
    assert [(each["action"], each["actor"]) for each in found] == [
        ("resumed", "admin"),
        ("paused", "write"),
    ]
    paused = found[1]
    assert paused["key_id"] == service.tokens["write"][4:20]
    assert (paused["target"], paused["task_id"]) == ("mail", None)
    assert (paused["address"], paused["request_id"]) == ("127.0.0.1", "r-2")
    answer = await service.ask("GET", "/audit?target=mail&limit=1", "admin")
    assert (await service.ask("GET", answer.links["next"]["url"], "admin")).json() == [paused]


async def test_who_changes_a_schedule_is_written_down(service: Service):
    """What changed nothing, and what was refused, is not there."""
    headers = {"X-Request-Id": "r-3"}
    at = "/schedules/nightly"
    made = await service.ask("PUT", at, "tenant", json=NIGHTLY, headers=headers)
    assert made.status_code == 201
    for method, verb, key, body in (
        ("PUT", "", "admin", NIGHTLY),
        ("PATCH", "", "admin", {"cron": NIGHTLY["cron"]}),
        ("PATCH", "", "write", {"priority": 1}),
        ("PUT", "", "admin", {**NIGHTLY, "priority": 2}),
        ("POST", "/pause", "tenant", None),
        ("POST", "/pause", "admin", None),
        ("POST", "/resume", "write", None),
        ("POST", "/resume", "admin", None),
    ):
        answer = await service.ask(method, at + verb, key, json=body)
        assert answer.status_code == 200, answer.text
    problem(await service.ask("POST", f"{at}/pause", "read"), 403)
    problem(await service.ask("POST", f"{at}/pause", "other-tenant"), 404)
    problem(await service.ask("DELETE", at, "other-tenant"), 404)
    problem(await service.ask("PATCH", at, "tenant", json={"queue": "other.a"}), 403)
    task_id = (await service.ask("POST", f"{at}/trigger", "write")).json()["id"]
    assert (await service.ask("DELETE", at, "tenant")).status_code == 204
    found = await audit(service, "?target=nightly")
    assert [(each["action"], each["actor"]) for each in reversed(found)] == [
        ("schedule added", "tenant"),
        ("schedule changed", "write"),
        ("schedule changed", "admin"),
        ("schedule paused", "tenant"),
        ("schedule resumed", "write"),
        ("schedule deleted", "tenant"),
    ]
    added = found[-1]
    assert added["key_id"] == service.tokens["tenant"][4:20]
    assert (added["target"], added["task_id"]) == ("nightly", None)
    assert (added["address"], added["request_id"]) == ("127.0.0.1", "r-3")
    (created,) = await audit(service, f"?task={task_id}")
    assert (created["action"], created["actor"]) == ("created", "write")


async def test_of_many_who_store_at_once_each_is_told_under_its_own_name(service: Service):
    """They share a commit, and not a name."""
    keys = ("write", "admin", "tenant", "other-tenant")
    queues = {"tenant": "acme.a", "other-tenant": "other.a"}
    ids = await asyncio.gather(
        *(service.store(keys[n % 4], queue=queues.get(keys[n % 4], "q")) for n in range(40))
    )
    told = {each["task_id"]: each["actor"] for each in await audit(service)}
    assert told == {task_id: keys[n % 4] for n, task_id in enumerate(ids)}


async def test_pages_of_the_trail_are_followed_by_their_links(service: Service):
    for _ in range(7):
        await service.store("write")
    everything = await audit(service)
    assert len(everything) == 7
    found: list[dict[str, Any]] = []
    url = "/audit?limit=3&actor=write"
    while url:
        answer = await service.ask("GET", url, "admin")
        found += answer.json()
        url = answer.links.get("next", {}).get("url", "")
    assert found == everything


@pytest.mark.parametrize(
    "query",
    [
        "task=x",
        "limit=0",
        "limit=1001",
        "cursor=-1",
        "cursor=x",
        "cursor=" + "9" * 30,
        f"cursor={2**63}",
        "nonsense=1",
        "actor=%00",
        "actor=" + "x" * 257,
        "target=%00",
        "target=" + "x" * 257,
    ],
)
async def test_a_bad_question_about_the_trail_is_answered_with_what_was_expected(
    service: Service, query: str
):
    problem(await service.ask("GET", f"/audit?{query}", "admin"), 400)


@pytest.mark.parametrize("request_id", ["r-1", "", "x" * 129, "a\x7fb", "\xe9"])
async def test_the_trail_has_the_name_that_the_answer_has(service: Service, request_id: str):
    headers: Any = {"X-Request-Id": request_id.encode("latin-1")}
    answer = await service.ask("PUT", "/tasks", "write", json={"kind": "Foo"}, headers=headers)
    assert answer.status_code == 201
    named = answer.headers["x-request-id"]
    assert (await audit(service))[0]["request_id"] == named
    assert (named == request_id) == (request_id == "r-1")


async def test_an_open_service_writes_nothing_down():
    async for service in serve(access=None):
        assert (await service.ask("PUT", "/tasks", json={"kind": "Foo"})).status_code == 201
        answer = await service.ask("GET", "/audit")
        assert (answer.status_code, answer.json()) == (200, [])


# -- what goes on and on ---------------------------------------------------------------------------


async def test_events_end_with_the_key_that_began_them(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    """The answer is whole only once the stream has ended."""
    begun = asyncio.Event()
    begin = ChangeFeed.begin

    async def seen(watch: ChangeFeed, since: datetime | None = None) -> Changes:
        begun.set()
        return await begin(watch, since)

    monkeypatch.setattr(ChangeFeed, "begin", seen)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        events = group.create_task(service.ask("GET", "/events", "write"))
        await begun.wait()
        await service.scheduler.store.keys.revoke(service.tokens["write"][4:20])
        service.clock.advance(seconds=STALE_AFTER_S)
    answer = events.result()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "event: end" in answer.text
    assert "revoked" in answer.text


# -- how often -------------------------------------------------------------------------------------


async def test_a_key_that_calls_too_often_is_told_when_to_come_again():
    async for service in serve(limit=2):
        for _ in range(2):
            assert (await service.ask("GET", "/tasks", "read")).status_code == 200
        for _ in range(3):
            answer = await service.ask("GET", "/tasks", "read")
            problem(answer, 429)
            assert answer.headers["retry-after"] == "1"
        assert (await service.ask("GET", "/tasks", "write")).status_code == 200
        assert (await service.ask("GET", "/healthz")).status_code == 200
        service.clock.advance(seconds=0.5)
        assert (await service.ask("GET", "/tasks", "read")).status_code == 200
        problem(await service.ask("GET", "/tasks", "read"), 429)
        service.clock.advance(seconds=3600)
        found = [(await service.ask("GET", "/tasks", "read")).status_code for _ in range(3)]
        assert found == [200, 200, 429], "no more is saved up than a second's worth"


async def test_a_slow_rate_says_so():
    async for service in serve(limit=0.1):
        assert (await service.ask("GET", "/tasks", "read")).status_code == 200
        assert (await service.ask("GET", "/tasks", "read")).headers["retry-after"] == "10"


# -- browsers --------------------------------------------------------------------------------------


async def test_every_answer_carries_the_headers_that_browsers_need(service: Service):
    answers = [
        await service.ask("GET", "/healthz"),
        await service.ask("GET", "/nothing"),
        await service.ask("GET", "/tasks"),
        await service.ask("GET", "/tasks", "read"),
        await service.ask("PUT", "/tasks", "write", content=b"{"),
        await service.ask("GET", "/schema"),
    ]
    assert [each.status_code for each in answers] == [200, 404, 401, 200, 400, 200]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
    for answer in answers[:-1]:
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/schema", "/schema/swagger", "/schema/scalar"])
async def test_the_pages_of_the_documentation_come_from_the_service_alone(
    service: Service, path: str
):
    answer = await service.ask("GET", path)
    policy = dict(
        each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "http" not in answer.headers["content-security-policy"]
    assert "http" not in answer.text
    assert "<style" not in answer.text
    assert not re.search(r"<script[^>]*>[^<]", answer.text)
    sources = re.findall(r'<(?:script|link)\b[^>]*?(?:src|href)="([^"]+)"', answer.text)
    assert len(sources) == 4
    for source in sources:
        at = str(httpx.URL(f"http://test{path}").join(source))
        for accepted in ("gzip, deflate", "identity"):
            file = await service.ask("GET", at, headers={"Accept-Encoding": accepted})
            assert file.status_code == 200, at
            assert file.headers["x-content-type-options"] == "nosniff"
            packed = file.headers.get("content-encoding") == "gzip"
            assert packed == ("gzip" in accepted and "begin" not in at and "files" in at)
            assert len(file.text) > 100
        tagged = {"If-None-Match": file.headers["etag"]}
        assert (await service.ask("GET", at, headers=tagged)).status_code == 304


@pytest.mark.parametrize("name", ["versions.json", "README.md", "swagger-ui.js.gz", "..%2Fapp.py"])
async def test_no_other_file_is_served(service: Service, name: str):
    assert (await service.ask("GET", f"/schema/files/{name}")).status_code == 404


async def test_what_a_route_says_of_itself_stays():
    message: Any = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"Cache-Control", b"max-age=60"), (b"content-type", b"text/html")],
    }
    await add_headers(message, {"path": "/"})  # type: ignore[arg-type]
    found = dict(message["headers"])
    assert found[b"Cache-Control"] == b"max-age=60"
    assert b"cache-control" not in found
    assert b"script-src" not in found[b"content-security-policy"]
    assert found[b"content-security-policy"].startswith(b"default-src 'self'")


async def test_pages_of_other_origins_are_not_heard_unless_they_are_named():
    preflight = {
        "Origin": "https://good.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization",
    }
    async for service in serve():
        answer = await service.ask("OPTIONS", "/tasks", headers=preflight)
        assert "access-control-allow-origin" not in answer.headers
    async for service in serve(cors_origins=["https://good.example"]):
        answer = await service.ask("OPTIONS", "/tasks", headers=preflight)
        assert answer.status_code in {200, 204}
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        assert "access-control-allow-credentials" not in answer.headers
        evil = {**preflight, "Origin": "https://evil.example"}
        refused = await service.ask("OPTIONS", "/tasks", headers=evil)
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 201),
        ("http://test", 201),
        ("https://good.example", 201),
        ("https://evil.example", 403),
        ("http://test.evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
async def test_an_open_service_hears_no_other_pages(origin: str | None, status: int):
    """A browser sends a plain POST before it asks whether it may."""
    async for service in serve(access=None, cors_origins=["https://good.example"]):
        headers = {} if origin is None else {"Origin": origin}
        answer = await service.ask("POST", "/tasks", json={"kind": "Foo"}, headers=headers)
        assert answer.status_code == status, answer.text


async def test_an_open_service_needs_no_key_and_minds_none():
    async for service in serve(access=None):
        for key in (None, "read", "revoked", "Basic x"):
            answer = await service.ask("PUT", "/tasks", key, json={"kind": "Foo"})
            assert answer.status_code == 201


# -- the program -----------------------------------------------------------------------------------


def test_a_key_from_the_command_line_opens_a_running_service(programs: Programs, queue: str):
    api = programs.start("api", "--port", "0", "--access", "keys", "--accept-unknown-kinds")
    address = api.address()
    assert "by key" in api.out.read_text()
    prefix = queue + "."
    token = programs.good(
        "keys", "add", "it's mine", "--scope", "write", "--queue-prefix", prefix, "--expires", "1h"
    ).strip()
    with httpx.Client(base_url=address, timeout=30) as client:
        problem(client.get("/tasks"), 401)
        client.headers["Authorization"] = f"Bearer {token}"
        task_id = put(client, kind="Baz", queue=prefix + "a")
        assert [task["id"] for task in client.get("/tasks").json()] == [task_id]
        problem(client.put("/tasks", json={"kind": "Baz"}), 403)
        assert UUID(task_id)
        key_id = token.split("_")[1]
        assert key_id in programs.good("keys", "list")
        assert token not in programs.good("keys", "list", "--json")
        (created,) = json.loads(programs.good("audit", "--task", task_id, "--json"))
        assert (created["action"], created["key_id"]) == ("created", key_id)
        assert "by it's mine" in programs.good("audit", "--actor", key_id)
        assert "revoked" in programs.good("keys", "revoke", key_id)
        assert f"key revoked       {key_id}  by cli:" in programs.good("audit", "--limit", "1")
        eventually(lambda: client.get("/tasks").status_code == 401, "the key's end")
    api.stop()
    assert token.rsplit("_", 1)[1] not in api.err.read_text()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - that is what is tested
def test_an_open_service_is_not_started_where_others_reach_it(programs: Programs, host: str):
    line = programs.refused("api", "--host", host, "--port", "0", "--access", "open")
    assert "--insecure" in line


def test_on_an_address_that_others_reach_keys_are_asked_for(programs: Programs):
    everywhere = ("api", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    for more, status in (((), 401), (("--insecure",), 200), (("--access", "keys"), 401)):
        api = programs.start(*everywhere, *more)
        said = re.compile(r"http://0\.0\.0\.0:(\d+)\n  access")
        eventually(lambda: said.search(api.out.read_text()) or not api.runs, "an address")  # noqa: B023
        found = said.search(api.out.read_text())
        assert found is not None, api.story()
        port = found[1]
        assert httpx.get(f"http://127.0.0.1:{port}/tasks").status_code == status
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        api.stop()


async def test_a_tenant_sees_and_makes_schedules_of_its_own_alone(service: Service):
    ours = await service.schedule("ours", "tenant")
    theirs = await service.schedule("theirs", "other-tenant", queue="other.a")

    async def seen(key: str) -> list[str]:
        return [each["name"] for each in (await service.ask("GET", "/schedules", key)).json()]

    assert await seen("read") == [ours, theirs]
    assert await seen("tenant") == [ours]
    assert await seen("other-tenant") == [theirs]
    new = {"name": "new", **NIGHTLY, "queue": "other.a"}
    problem(await service.ask("POST", "/schedules", "tenant", json=new), 403)
    problem(await service.ask("PUT", "/schedules/theirs", "tenant", json=NIGHTLY), 409)
    moved = await service.ask("PATCH", "/schedules/ours", "tenant", json={"queue": "other.a"})
    problem(moved, 403)
    assert await seen("read") == [ours, theirs]
    triggered = await service.ask("POST", "/schedules/ours/trigger", "tenant")
    assert triggered.status_code == 201
    task = await service.ask("GET", triggered.headers["location"], "tenant")
    assert task.json()["queue"] == NIGHTLY["queue"]
