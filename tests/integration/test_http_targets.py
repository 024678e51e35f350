"""Calls of targets, made to real servers on the loopback interface."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import httpcore
import pytest
import trustme
from httpcore import AnyIOBackend
from standardwebhooks.webhooks import Webhook

from taskscheduler import TaskStatus, Worker
from taskscheduler.adapters.web.addresses import Opened
from taskscheduler.adapters.web.calling import WebCaller
from taskscheduler.adapters.web.dialing import CheckedDialer
from taskscheduler.application.http_target.handler import Call, TargetRefused, http_handlers
from taskscheduler.application.http_target.signing import Signer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from taskscheduler import Scheduler

pytestmark = pytest.mark.anyio

SECRETS = [
    "whsec_" + base64.b64encode(b"new".ljust(32, b"!")).decode(),
    "whsec_" + base64.b64encode(b"old".ljust(32, b"!")).decode(),
]
PUBLIC = "93.184.216.34"
OPEN = ("127.0.0.0/8",)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Request(NamedTuple):
    """What a server was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server:
    """A server that notes what it is sent and writes what it was told to, byte for byte."""

    def __init__(self, *script: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        """Answer each request with the next of ``script``; with the last from then on."""
        self.script = list(script)
        self.seen: list[Request] = []
        self.connections = 0
        self.port = 0

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
        """Serve on a port of the loopback interface."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head.split(" ")
            pairs = [line.split(": ", 1) for line in lines if line]
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.seen.append(Request(method, path, headers, body))
            answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def url(self, host: str = "127.0.0.1", path: str = "/hook", scheme: str = "http") -> str:
        """Return where this server is, by that name."""
        return f"{scheme}://{host}:{self.port}{path}"


class Names:
    """A resolver that is not to be trusted: it answers differently from time to time."""

    def __init__(self, **answers: list[list[str]]) -> None:
        """Give each name its answers, one after another, the last from then on."""
        self.answers = {name.replace("_", "."): several for name, several in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, _: int) -> list[str]:
        """Answer."""
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise OSError(-2, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Cables(AnyIOBackend):
    """Notes where connections are made to, and lays those to ``PUBLIC`` to the loopback."""

    def __init__(self) -> None:
        """Start without any."""
        self.to: list[str] = []

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        """Connect, never off this machine."""
        self.to.append(host)
        if host == PUBLIC:
            host = "127.0.0.1"
        assert host.startswith("127.")
        return await super().connect_tcp(host, port, *args, **options)


class Result(NamedTuple):
    """What became of a task."""

    status: TaskStatus
    said: str
    wait: timedelta
    id: str


class Bench:
    """Runs tasks of the kind ``http``, each once."""

    def __init__(self, scheduler: Scheduler) -> None:
        """Make them with ``scheduler``."""
        self.scheduler = scheduler
        self.names = Names()
        self.cables = Cables()

    async def call(
        self,
        url: str,
        *,
        opened: tuple[str, ...] = OPEN,
        tls: ssl.SSLContext | None = None,
        **payload: Any,
    ) -> Result:
        """Run one task; say what became of it."""
        dialer = CheckedDialer(Opened.of(opened), self.names, self.cables)
        handlers = http_handlers(WebCaller(dialer, tls=tls), Signer(SECRETS), version="0")
        task_id = await self.scheduler.schedule("http", {"url": url, **payload})
        worker = Worker(self.scheduler, handlers, random=lambda: 0.0)
        assert await worker.turn() == 1
        await worker.deregister()
        task = await self.scheduler.get(task_id)
        (attempt,) = await self.scheduler.attempts(task_id)
        assert attempt.finished_at is not None
        said = "" if attempt.error is None else f"{attempt.error.type}: {attempt.error.message}"
        return Result(task.status, said, task.process_at - attempt.finished_at, str(task_id))


@pytest.fixture
def bench(scheduler_in_memory: Scheduler) -> Bench:
    """A bench on memory."""
    return Bench(scheduler_in_memory)


def redirect(location: str, status: int = 307) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_call_arrives_and_completes_the_task(bench: Bench):
    async with Server(OK).running() as server:
        url = server.url(path="/hook?a=b%20c&d")
        done = await bench.call(url, headers={"X-Shop": "north"}, body={"n": 1})
    assert done.status is TaskStatus.COMPLETED
    (request,) = server.seen
    assert (request.method, request.path) == ("POST", "/hook?a=b%20c&d")
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["x-shop"] == "north"
    assert request.headers["idempotency-key"] == done.id
    assert request.headers["taskscheduler-attempt"] == "1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.body == b'{"n":1}'


async def test_the_signature_is_what_the_specification_says(bench: Bench):
    async with Server(OK).running() as server:
        done = await bench.call(server.url(), body={"é": 1})
    (request,) = server.seen
    assert request.headers["webhook-id"] == done.id
    stamp = request.headers["webhook-timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    signed = f"{done.id}.{stamp}.".encode() + request.body
    signatures = [
        "v1,"
        + base64.b64encode(
            hmac.new(base64.b64decode(secret[6:]), signed, hashlib.sha256).digest()
        ).decode()
        for secret in SECRETS
    ]
    assert request.headers["webhook-signature"].split() == signatures
    for secret in SECRETS:  # somebody else's implementation
        assert Webhook(secret).verify(request.body, request.headers) == {"é": 1}


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", None),
        ("[::1]", None),
        ("[::ffff:127.0.0.1]", None),
        ("[64:ff9b::7f00:1]", None),
        ("0.0.0.0", None),  # noqa: S104 - refused
        ("[::]", None),
        ("10.0.0.1", None),
        ("169.254.169.254", None),
        ("[fd00:ec2::254]", None),
        ("2130706433", None),
        ("0x7f.1", None),
        ("0177.0.0.1", None),
        ("rebind.example", ["127.0.0.1"]),
        ("rebind.example", ["::ffff:127.0.0.1"]),
        ("rebind.example", [PUBLIC, "10.0.0.1"]),
        ("rebind.example", ["192.168.0.1", PUBLIC]),
        ("rebind.example", ["fe80::1%lo"]),
    ],
)
async def test_a_closed_address_is_not_connected_to(
    bench: Bench, host: str, answer: list[str] | None
):
    bench.names.answers["rebind.example"] = [answer or []]
    async with Server(OK).running() as server:
        refused = await bench.call(server.url(host), opened=())
    assert refused.status is TaskStatus.FAILED
    assert refused.said.startswith("Discard: POST ")
    assert not bench.cables.to
    assert not server.connections


async def test_a_name_is_resolved_once_and_that_answer_is_connected_to(bench: Bench):
    bench.names.answers["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    async with Server(OK).running() as server:
        done = await bench.call(server.url("rebind.example"), opened=())
        again = await bench.call(server.url("rebind.example"), opened=())
    assert done.status is TaskStatus.COMPLETED
    assert again.status is TaskStatus.FAILED, "the second answer was another"
    assert bench.names.asked == ["rebind.example"] * 2, "once for each call"
    assert bench.cables.to == [PUBLIC]
    assert server.seen[0].headers["host"] == f"rebind.example:{server.port}"


@pytest.mark.parametrize(
    "target",
    [
        *(
            "http://127.0.0.1:{port}/in",
            "http://[::ffff:127.0.0.1]:{port}/",
            "//2130706433:{port}/",
        ),
        *("http://inner.example:{port}/", "http://169.254.169.254/latest", "file:///etc/passwd"),
        *("http://me@public.example:{port}/", "http://public.example:22/", "http://[/"),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(bench: Bench, target: str):
    bench.names.answers |= {"public.example": [[PUBLIC]], "inner.example": [["127.0.0.1"]]}
    async with Server(OK).running() as server:
        server.script[:] = [redirect(target.format(port=server.port)), OK]
        refused = await bench.call(server.url("public.example"), opened=(), redirects=5)
    assert refused.status is TaskStatus.FAILED
    assert refused.said.startswith("Discard: POST ")
    assert bench.cables.to == [PUBLIC]
    assert len(server.seen) == 1


async def test_a_name_may_turn_between_two_hops(bench: Bench):
    bench.names.answers["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    async with Server(redirect("/again"), OK).running() as server:
        refused = await bench.call(server.url("rebind.example"), opened=(), redirects=5)
    assert refused.status is TaskStatus.FAILED
    assert "127.0.0.1, which is loopback" in refused.said
    assert bench.cables.to == [PUBLIC]


async def test_redirects_are_not_followed_unless_asked_for(bench: Bench):
    async with Server(redirect("/there"), OK).running() as server:
        refused = await bench.call(server.url())
    assert refused.status is TaskStatus.FAILED
    assert "307" in refused.said
    assert len(server.seen) == 1


async def test_a_redirect_within_the_origin_keeps_everything(bench: Bench):
    async with Server(redirect("there?x=1"), OK).running() as server:
        done = await bench.call(
            server.url(path="/a/b"), redirects=1, headers={"Authorization": "x"}, body="hi"
        )
    assert done.status is TaskStatus.COMPLETED
    first, second = server.seen
    assert second.path == "/a/there?x=1"
    assert second.headers == first.headers
    assert second.body == b"hi"


async def test_a_redirect_elsewhere_takes_no_secret_along(bench: Bench):
    headers = {"Authorization": "x", "Cookie": "y", "X-Anything": "z", "Accept": "a/b"}
    async with Server(OK).running() as other, Server(redirect(other.url())).running() as server:
        done = await bench.call(server.url(), redirects=1, headers=headers, body="hi")
    assert done.status is TaskStatus.COMPLETED
    names = other.seen[0].headers.keys()
    assert not names & {"authorization", "cookie", "x-anything", "webhook-signature"}
    assert {"accept", "content-type", "idempotency-key"} <= names
    assert other.seen[0].body == b"hi"


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD")],
)
async def test_some_redirects_are_fetched(bench: Bench, status: int, method: str, becomes: str):
    async with Server(redirect("/r", status), OK).running() as server:
        done = await bench.call(server.url(), method=method, redirects=1, body="hi")
    assert done.status is TaskStatus.COMPLETED
    assert server.seen[1].method == becomes
    assert server.seen[1].body == b""
    assert not server.seen[1].headers.keys() & {"webhook-signature", "content-type"}


async def test_redirects_in_a_circle_end(bench: Bench):
    async with Server(redirect("/r")).running() as server:
        refused = await bench.call(server.url(), redirects=3)
    assert refused.status is TaskStatus.FAILED
    assert "more than 3 others" in refused.said
    assert len(server.seen) == 4


async def test_ports_of_other_services_are_closed(bench: Bench):
    bench.names.answers["public.example"] = [[PUBLIC]]
    refused = await bench.call("http://public.example:25/", opened=())
    assert refused.status is TaskStatus.FAILED
    assert "port 25 is another service's" in refused.said
    assert not bench.cables.to


async def test_a_host_is_opened_by_its_name(bench: Bench):
    bench.names.answers["inner.example"] = [["127.0.0.1"]]
    async with Server(OK).running() as server:
        done = await bench.call(server.url("inner.example"), opened=("*.example",))
    assert done.status is TaskStatus.COMPLETED


async def test_the_environment_names_no_proxy(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    async with Server(OK).running() as server, Server(OK).running() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(path=""))
        done = await bench.call(server.url())
    assert done.status is TaskStatus.COMPLETED
    assert not proxy.connections


class Trust(NamedTuple):
    """A server's certificate for ``shop.example``, and who trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def trust() -> Trust:
    """An authority that nobody else trusts."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("shop.example").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Trust(server, client)


async def test_tls_verifies_the_name_and_not_the_address(bench: Bench, trust: Trust):
    bench.names.answers |= {"shop.example": [[PUBLIC]], "other.example": [[PUBLIC]]}
    async with Server(OK).running(trust.server) as server:
        right, wrong, unknown = [
            await bench.call(server.url(host, scheme="https"), opened=(), tls=tls)
            for host, tls in (
                ("shop.example", trust.client),
                ("other.example", trust.client),
                ("shop.example", None),
            )
        ]
    assert right.status is TaskStatus.COMPLETED
    assert server.seen[0].headers["host"] == f"shop.example:{server.port}"
    assert (wrong.status, unknown.status) == (TaskStatus.PENDING, TaskStatus.PENDING)
    assert "other.example" in wrong.said
    assert "certificate verify failed" in unknown.said
    assert len(server.seen) == 1


async def test_https_leads_to_no_http(bench: Bench, trust: Trust):
    bench.names.answers["shop.example"] = [[PUBLIC]]
    async with Server(redirect("http://shop.example/")).running(trust.server) as server:
        url = server.url("shop.example", scheme="https")
        refused = await bench.call(url, opened=(), tls=trust.client, redirects=1)
    assert refused.status is TaskStatus.FAILED
    assert "anyone can read along" in refused.said


async def never(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drip_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Slow: x\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def continue_forever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("script", [never, drip_head, drip_body, continue_forever])
async def test_a_slow_answer_is_given_up_in_time(bench: Bench, script: Any):
    began = time.monotonic()
    async with Server(script).running() as server:
        late = await bench.call(server.url(), timeout_s=0.3)
    assert late.status is TaskStatus.PENDING
    assert late.said == f"Retry: POST {server.url()}: no complete answer within 0.3 s"
    assert time.monotonic() - began < 5


async def pour(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(head + b"\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def pour_good(writer: asyncio.StreamWriter) -> None:
    await pour(writer, b"HTTP/1.1 200 OK")


async def pour_bad(writer: asyncio.StreamWriter) -> None:
    await pour(writer, b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain")


async def test_an_endless_answer_is_read_no_further_than_needed(bench: Bench):
    async with Server(pour_good).running() as server:
        assert (await bench.call(server.url())).status is TaskStatus.COMPLETED
    async with Server(pour_bad).running() as server:
        failed = await bench.call(server.url())
    assert failed.status is TaskStatus.PENDING
    assert failed.said.endswith("xxx…")
    assert len(failed.said) < 1_200


@pytest.mark.parametrize(
    "cut",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000,
        b"\x16\x03\x01\x00\x00",
    ],
)
async def test_what_is_no_complete_answer_is_tried_again(bench: Bench, cut: bytes):
    async with Server(cut).running() as server:
        failed = await bench.call(server.url())
    assert failed.status is TaskStatus.PENDING
    assert failed.said.startswith(f"Retry: POST {server.url()}: ")


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 \r\n\r\n"]
)
async def test_interim_answers_have_an_end(bench: Bench, line: bytes):
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(line * 1_000)
            sent += len(line) * 1_000
            await writer.drain()

    async with Server(flood).running() as server:
        failed = await bench.call(server.url())
        assert failed.status is TaskStatus.PENDING
        assert "it sent more than 131072 bytes before its answer" in failed.said
    async with Server(line * 50 + OK).running() as server:
        assert (await bench.call(server.url())).status is TaskStatus.COMPLETED


async def test_a_head_has_an_end_and_a_body_its_own(bench: Bench):
    async with Server(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000).running() as server:
        assert (await bench.call(server.url())).status is TaskStatus.PENDING
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    async with Server(large).running() as server:
        assert (await bench.call(server.url())).status is TaskStatus.COMPLETED


async def test_a_header_that_cannot_be_sent_is_not_tried_again(bench: Bench):
    value = "Bearer s3cr3t\x00"
    call = Call(
        url="http://127.0.0.1:9/",
        method="GET",
        headers={"Authorization": value},
        proof={},
        common={},
        body=b"",
        timeout_s=5,
        redirects=0,
    )
    async with Server(OK).running() as server:
        with pytest.raises(TargetRefused, match="cannot be sent") as refused:
            await WebCaller(CheckedDialer(Opened.of(OPEN)))(replace(call, url=server.url()))
    assert "s3cr3t" not in str(refused.value)


async def test_nobody_there_is_tried_again(bench: Bench):
    async with Server(OK).running() as server:
        pass
    failed = await bench.call(server.url())
    assert failed.status is TaskStatus.PENDING
    assert "ConnectError" in failed.said
    unknown = await bench.call("http://nowhere.example/")
    assert unknown.status is TaskStatus.PENDING
    assert "nowhere.example cannot be resolved: Name or service not known" in unknown.said


async def test_the_next_address_is_tried_when_one_does_not_answer(bench: Bench):
    bench.names.answers["two.example"] = [["127.0.0.2", "127.0.0.1"]]
    async with Server(OK).running() as server:
        done = await bench.call(server.url("two.example"))
    assert done.status is TaskStatus.COMPLETED
    assert bench.cables.to == ["127.0.0.2", "127.0.0.1"]


async def test_retry_after_is_waited_for(bench: Bench):
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 90\r\n\r\nbusy"
    async with Server(head).running() as server:
        failed = await bench.call(server.url())
    assert (failed.status, failed.wait) == (TaskStatus.PENDING, timedelta(seconds=90))
    assert failed.said == f"Retry: POST {server.url()}: 503: busy"


async def test_no_unix_socket_is_dialled():
    with pytest.raises(Exception, match="Unix socket"):
        await CheckedDialer(Opened()).connect_unix_socket("/run/docker.sock")
    assert issubclass(CheckedDialer, httpcore.AsyncNetworkBackend)


async def test_the_systems_own_resolver_is_asked_by_default():
    async with Server(OK).running() as server:
        with pytest.raises(Exception, match="which is loopback"):
            await CheckedDialer(Opened()).connect_tcp("localhost", server.port)
        opened = CheckedDialer(Opened.of(["localhost"]))
        stream = await opened.connect_tcp("localhost", server.port)
        await stream.aclose()
    with pytest.raises(httpcore.ConnectError, match="cannot be resolved"):
        await CheckedDialer(Opened()).connect_tcp("a..b.invalid", 80)
