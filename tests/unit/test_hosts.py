"""Under which names the service answers, and whose word on callers' addresses it takes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.hosts import Hosts, Proxies
from taskscheduler.entrypoints.http.middleware.tracing import context_headers
from taskscheduler.entrypoints.http.parameters import TAGS_CHARACTERS_MAX, tags_of
from taskscheduler.entrypoints.http.routes.tasks import TaskRules
from taskscheduler.testing import ManualClock, in_memory


@pytest.fixture
def anyio_backend():
    return "asyncio"


def scope(*headers: tuple[str, str], client: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "path": "/tasks",
        "scheme": "http",
        "client": (client, 5),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    } | more


LOCAL = Hosts.of([], bound="127.0.0.1", insist=True)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:3000",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:3000",
    ],
)
def test_this_machine_answers_to_its_own_names(host: str):
    asked = scope(("host", host))
    LOCAL.check(asked)
    assert asked["taskscheduler.host_known"] is True


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:3000", 421),
        ("localhost.evil.example", 421),
        ("evillocalhost", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.2", 421),
        ("169.254.169.254", 421),
        ("0.0.0.0:3000", 421),
        ("[::]", 421),
        ("localhost@evil.example", 421),
        ("localhost/", 421),
        ("localhost, evil.example", 421),
        ("", 421),
        ("é.example", 421),
        ("a" * 300, 400),
    ],
)
@pytest.mark.anyio
async def test_another_host_is_refused_on_every_path_and_nothing_is_stored(host: str, status: int):
    scheduler = in_memory(ManualClock())
    app: Any = create_app(
        scheduler, rules=TaskRules(accept_unknown_kinds=True), hosts=LOCAL, open_scheduler=False
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for method, path in (
            ("PUT", "/tasks"),
            ("GET", "/tasks"),
            ("GET", "/"),
            ("GET", "/schema/openapi.json"),
            ("GET", "/metrics"),
            ("GET", "/nowhere"),
            ("OPTIONS", "/tasks"),
        ):
            headers = {b"Host": host.encode("latin-1")}
            answer = await client.request(method, path, headers=headers, json={"kind": "Foo"})
            assert answer.status_code == status, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-request-id"]
        stored = await client.put("/tasks", json={"kind": "Foo"})
        assert stored.status_code == 201
        assert len((await client.get("/tasks")).json()) == 1


@pytest.mark.anyio
async def test_two_hosts_are_none():
    app: Any = create_app(in_memory(ManualClock()), hosts=LOCAL, open_scheduler=False)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
    ) as client:
        twice = [("Host", "localhost"), ("Host", "evil.example")]
        assert (await client.get("/healthz", headers=twice)).status_code == 400


def test_names_and_domains_can_be_allowed():
    hosts = Hosts.of(["tasks.example.org", "*.internal.example", "fd00::1"], insist=True)
    for host in (
        "Tasks.Example.ORG:443",
        "a.internal.example",
        "a.b.internal.example",
        "[fd00::1]",
    ):
        assert hosts.know(host), host
    for host in ("example.org", "internal.example", "xinternal.example", "fd00::1"):
        assert not hosts.know(host), host
    hosts = Hosts.of(["*"], bound="127.0.0.1", insist=True)
    asked = scope(("host", "anything.example"))
    hosts.check(asked)
    assert "taskscheduler.host_known" not in asked


@pytest.mark.parametrize("host", ["", "a b", "http://x", "x:80", "*", "*.*.x", "x/y", "é"])
def test_what_is_no_host_cannot_be_allowed(host: str):
    if host == "*":
        return
    with pytest.raises(InvalidConfiguration, match="--allowed-host"):
        Hosts.of([host], insist=True)


def test_probes_ask_a_service_with_keys_by_any_name():
    hosts = Hosts.of(["tasks.example.org"], insist=True, probed=True)
    hosts.check(scope(("host", "10.1.2.3:3000"), path="/readyz"))


@pytest.mark.anyio
async def test_a_link_names_no_host_that_is_not_known_to_be_ours():
    app: Any = create_app(
        in_memory(ManualClock()),
        rules=TaskRules(accept_unknown_kinds=True),
        hosts=Hosts.of(["tasks.example.org"], insist=False),
        open_scheduler=False,
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://evil.example") as client:
        for _ in range(3):
            await client.put("/tasks", json={"kind": "Foo"})
        link = (await client.get("/tasks?limit=2")).headers["link"]
        assert link.startswith("</tasks?")
        assert "evil" not in link
        found = httpx.URL("http://evil.example/tasks").join(link[1:].partition(">")[0])
        assert len((await client.get(found)).json()) == 1
        ours = {"Host": "tasks.example.org"}
        link = (await client.get("/tasks?limit=2", headers=ours)).headers["link"]
        assert link.startswith("<http://tasks.example.org/tasks?")


PROXIES = Proxies.of(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])


def from_where(said: list[str], client: str = "10.0.0.1") -> str | None:
    asked = scope(*(("x-forwarded-for", each) for each in said), client=client)
    PROXIES.believed(asked)
    return None if asked["client"] is None else asked["client"][0]


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ([], "10.0.0.1"),
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:DB8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        (["unknown"], None),
        (["203.0.113.9, <script>"], None),
        (["fe80::1%eth0"], None),
        (["\x1b[31m"], None),
        (["x" * 2_000_000], None),
        (["203.0.113.9," * 100_000 + "198.51.100.7"], "198.51.100.7"),
    ],
)
def test_a_trusted_proxy_names_an_address_or_nothing(said: list[str], address: str | None):
    assert from_where(said) == address


@pytest.mark.parametrize("client", ["127.0.0.2", "203.0.113.9", "::1", "unix"])
def test_nobody_else_is_believed(client: str):
    assert from_where(["6.6.6.6"], client) == client


def test_by_default_not_even_this_machine_is_believed():
    asked = scope(("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https"))
    Proxies().believed(asked)
    assert asked["client"] == ("127.0.0.1", 5)
    assert asked["scheme"] == "http"


def test_a_trusted_proxy_says_how_it_was_called():
    asked = scope(("x-forwarded-proto", "https"))
    PROXIES.believed(asked)
    assert asked["scheme"] == "https"


def test_what_is_no_network_is_nobody_to_trust():
    with pytest.raises(InvalidConfiguration, match="--trusted-proxy"):
        Proxies.of(["balancer"])


class Asked:
    """A request with headers, and nothing else."""

    def __init__(self, *values: str) -> None:
        self.headers = self
        self._values = list(values)

    def getall(self, name: str, default: list[str]) -> list[str]:
        assert name == "if-match"
        return self._values or default


def tags(*values: str) -> frozenset[str] | None:
    request: Any = Asked(*values)
    return tags_of(request)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), None),
        (("*",), None),
        (('"a"',), {'"a"'}),
        (('"a", "b"', ' "c" '), {'"a"', '"b"', '"c"'}),
        (('"a,b"',), {'"a,b"'}),
        (('W/"a"',), set[str]()),
        (('W/"a","b"',), {'"b"'}),
        (("a",), set[str]()),
        (('"a"b, "c"',), {'"c"'}),
        (('"a',), set[str]()),
        ((",,",), set[str]()),
        ((" " * 4000 + '"a"',), {'"a"'}),
    ],
)
def test_tags_are_read_as_before(values: tuple[str, ...], expected: set[str] | None):
    assert tags(*values) == expected


@pytest.mark.parametrize("part", [" ", "\t", '"', '",', "W/", ' "', ", ", 'W/"a" ', '"a"x'])
def test_tags_are_read_in_one_go(part: str):
    text = (part * TAGS_CHARACTERS_MAX)[:TAGS_CHARACTERS_MAX]
    for _ in range(20):
        tags(text)
    with pytest.raises(BadRequest, match="If-Match"):
        tags(text + " ")


def test_a_trace_state_that_is_too_long_is_left_out():
    parent = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert "tracestate" in context_headers([parent, (b"tracestate", b"a=b")])
    assert "tracestate" not in context_headers([parent, (b"tracestate", b" " * 60_000)])
    assert "tracestate" not in context_headers([parent, *[(b"tracestate", b"a=b")] * 200])
    assert context_headers([(b"traceparent", b"0" * 60_000)]) == {}
