"""What one caller may ask of the server: heads, bodies and answers of strangers have an end.

Times are not waited for: the server is told that it is later.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.connection_limits import no_descriptors
from taskscheduler.entrypoints.http.middleware.request_limits import ServerLimits
from taskscheduler.entrypoints.http.routes.tasks import TaskRules
from taskscheduler.entrypoints.http.server import bind, build_server
from taskscheduler.entrypoints.request_metrics import Requests
from taskscheduler.testing import in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

BODY_BYTES_MAX = 1 << 20


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Served:
    """A server in this very loop, on a port of its own."""

    def __init__(self, app: Any, limits: ServerLimits, port: int, listening: socket.socket) -> None:
        self.requests = Requests()
        self.server = build_server(app, limits=limits, requests=self.requests, lifespan="off")
        self.port = port
        self.listening = listening

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send ``data``, and then read until the other end has had enough."""
        reader, writer = await self.connect()
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return parsed(answer)

    def later(self, seconds: float) -> None:
        """Let the server look at its connections as if it were so much later."""
        door = self.server.door
        connections: Any = self.server.server_state.connections
        door.look(connections, asyncio.get_running_loop().time() + seconds)

    async def until(self, told: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not told():
                await asyncio.sleep(0.01)

    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def refused(self, status: int) -> int:
        found = self.requests.took_s.get(("other", "none", status))
        return 0 if found is None else sum(found.counts)


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split(" ")[1]) if first else 0, headers, body


@asynccontextmanager
async def serving(app: Any = None, **limits: Any) -> AsyncGenerator[Served]:
    app = app or create_app(
        in_memory(),
        rules=TaskRules(accept_unknown_kinds=True),
        body_bytes_max=BODY_BYTES_MAX,
        open_scheduler=False,
    )
    with bind("127.0.0.1", 0) as listening:
        served = Served(app, ServerLimits(**limits), listening.getsockname()[1], listening)
        running = asyncio.create_task(served.server.serve(sockets=[listening]))
        await served.until(lambda: served.server.started)
        try:
            yield served
        finally:
            served.server.stop()
            served.server.stop()
            await running


def head(*lines: str, target: str = "/tasks", method: str = "PUT") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def put(url: str, body: Any) -> tuple[int, Any]:
    """Send all of a body, and only then read, as most clients do."""
    request = urllib.request.Request(url, data=body, method="PUT")  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
            return answer.status, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, msgspec.json.decode(error.read())


@pytest.mark.anyio
@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 10 * BODY_BYTES_MAX, 100 * BODY_BYTES_MAX])
@pytest.mark.parametrize("chunked", [False, True])
async def test_who_sends_first_and_reads_then_sees_that_the_body_is_too_large(
    size: int, *, chunked: bool
):
    async with serving() as served:
        whole = b" " * size
        parts = (whole[at : at + 65536] for at in range(0, size, 65536))
        body: Any = parts if chunked else whole
        url = f"http://127.0.0.1:{served.port}/tasks"
        status, said = await asyncio.to_thread(put, url, body)
        assert (status, said["status"]) == (413, 413)
        assert (await asyncio.to_thread(put, url, b'{"kind": "Foo"}'))[0] == 201


@pytest.mark.anyio
async def test_one_that_goes_on_sending_is_cut_off():
    async with serving(drain_bytes=4 << 20) as served:
        reader, writer = await served.connect()
        writer.write(head(f"Content-Length: {1 << 40}"))

        async def flood() -> None:
            for _ in range(200):
                writer.write(b" " * (1 << 20))
                await asyncio.wait_for(writer.drain(), 20)

        with pytest.raises(ConnectionError):
            await flood()
        await served.until(lambda: served.connections() == 0)
        del reader


@pytest.mark.anyio
async def test_one_that_stops_sending_is_not_waited_for():
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(head(f"Content-Length: {2 * BODY_BYTES_MAX}") + b" " * 1000)
        status, headers, _ = parsed(await asyncio.wait_for(reader.read(), 20))
        assert (status, headers["connection"]) == (413, "close")
        assert served.connections() == 1
        served.later(31)
        await served.until(lambda: served.connections() == 0)
        writer.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(target="/" + "a" * 20_000), 414),
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET /" + b"a" * 5_000_000, 414),
        (head("a: " + "b" * 70_000), 431),
        (head(*["a: b"] * 101), 431),
        (head(*[f"a{n}: {'b' * 4000}" for n in range(20)]), 431),
        (head()[:-2] + b"a: " + b"b" * 5_000_000, 431),
        (head()[:-2] + b"a" * 5_000_000, 431),
        (b"\x16\x03\x01\x02\x00\x01" * 100, 400),
        (b"\r\n\r\nnonsense\r\n\r\n", 400),
    ],
)
async def test_heads_have_a_size(data: bytes, status: int):
    async with serving() as served:
        found, headers, body = await served.ask(data)
        assert found == status
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert msgspec.json.decode(body)["status"] == status
        assert served.refused(status) == 1


@pytest.mark.anyio
async def test_a_head_that_comes_in_crumbs_is_no_larger():
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(head()[:-2])
        answer = asyncio.create_task(reader.read())
        for _ in range(200):
            if answer.done():
                break
            writer.write(b"a: " + b"b" * 1000 + b"\r\n")
            await asyncio.sleep(0.001)
        assert parsed(await asyncio.wait_for(answer, 20))[0] == 431
        writer.close()


@pytest.mark.anyio
@pytest.mark.parametrize("begun", [b"", b"GET /heal", head()[:-2]])
async def test_a_head_that_does_not_end_is_not_waited_for(
    begun: bytes, caplog: pytest.LogCaptureFixture
):
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(begun)
        await served.until(lambda: served.connections() == 1)
        served.later(9)
        await asyncio.sleep(0.05)
        assert not reader.at_eof()
        served.later(11)
        if begun:
            assert parsed(await asyncio.wait_for(reader.read(), 20))[0] == 408
        else:
            assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        with caplog.at_level(logging.WARNING):
            served.later(60)
        assert "turned away 1 connections or requests: 1 " in caplog.text


@pytest.mark.anyio
async def test_a_second_head_has_the_same_time():
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(head(target="/healthz", method="GET"))
        await asyncio.wait_for(reader.readuntil(b"}"), 20)
        writer.write(b"GET /he")
        await asyncio.sleep(0.05)
        served.later(11)
        assert parsed(await asyncio.wait_for(reader.read(), 20))[0] == 408
        writer.close()


@pytest.mark.anyio
async def test_a_body_has_a_least_rate():
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(head("Content-Length: 100000") + b" " * 5_000)
        await served.until(lambda: served.connections() == 1)
        await asyncio.sleep(0.05)
        served.later(14)  # ten, and five for what came
        await asyncio.sleep(0.05)
        assert not reader.at_eof()
        served.later(17)
        assert parsed(await asyncio.wait_for(reader.read(), 20))[0] == 408
        assert served.refused(408) == 1
        writer.close()


@pytest.mark.anyio
async def test_an_answer_that_nobody_reads_is_not_kept():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        part = b" " * (1 << 20)
        for _ in range(64):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as served:
        reader, writer = await served.connect()
        reader._transport.pause_reading()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        writer.write(head())
        connections: Any = served.server.server_state.connections
        await served.until(lambda: any(each.flow.write_paused for each in connections))
        await asyncio.sleep(0.2)
        served.later(0)
        served.later(31)
        await served.until(lambda: served.connections() == 0)
        await served.until(lambda: not served.server.server_state.tasks)
        writer.close()


@pytest.mark.anyio
async def test_an_answer_that_is_read_is_not_cut():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        part = b" " * (1 << 20)
        for _ in range(8):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as served:
        reader, writer = await served.connect()
        writer.write(head("Connection: close"))
        size, now = 0, 0.0
        while part := await asyncio.wait_for(reader.read(100_000), 20):
            size += len(part)
            now += 1
            served.later(now)
        assert size > 8 << 20
        writer.close()


@pytest.mark.anyio
async def test_unfinished_heads_lock_nobody_out():
    async with serving(connections=20) as served:
        silent = [await served.connect() for _ in range(20)]
        await served.until(lambda: served.connections() == 20)
        for _ in range(30):
            status, _, _ = await served.ask(
                head("Connection: close", target="/healthz", method="GET")
            )
            assert status == 200
        assert served.connections() <= 20
        for _, writer in silent:
            writer.close()


@pytest.mark.anyio
async def test_connections_that_are_busy_are_not_let_go_of():
    begun, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app, connections=3) as served:
        busy = [await served.connect() for _ in range(3)]
        for _, writer in busy:
            writer.write(head("Connection: close", method="GET"))
        await served.until(lambda: len(served.server.server_state.tasks) == 3)
        status, headers, _ = await served.ask(head(method="GET"))
        assert (status, headers["retry-after"]) == (503, "2")
        go.set()
        for reader, writer in busy:
            assert parsed(await asyncio.wait_for(reader.read(), 20))[0] == 204
            writer.close()
        await served.until(lambda: served.connections() == 0)
        assert (await served.ask(head("Connection: close", method="GET")))[0] == 204


@pytest.mark.anyio
async def test_bodies_have_a_size_together():
    async with serving(bodies_bytes=1 << 20) as served:
        open_ones: list[Any] = []
        for _ in range(2):
            reader, writer = await served.connect()
            writer.write(head("Content-Length: 900000") + b" " * 600_000)
            open_ones.append((reader, writer))
        answers = [asyncio.create_task(reader.read()) for reader, _ in open_ones]
        done, _ = await asyncio.wait(answers, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        assert parsed(refused.result())[0] == 503
        assert (
            await served.ask(head("Content-Length: 15", "Connection: close") + b'{"kind": "Foo"}')
        )[0] == 201
        for _, writer in open_ones:
            writer.close()
        await asyncio.wait(answers)
        await served.until(lambda: served.server.door.held == 0)


@pytest.mark.anyio
async def test_what_comes_after_the_body_is_no_header():
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        seen.extend(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as served:
        chunks = b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        asked = head("Transfer-Encoding: chunked", "Connection: close") + chunks
        assert (await served.ask(asked))[0] == 204
        assert b"authorization" not in seen


@pytest.mark.anyio
@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_other_protocols_are_not_spoken(protocol: str):
    async with serving() as served:
        upgrade = ("Connection: Upgrade", f"Upgrade: {protocol}", "Sec-WebSocket-Version: 13")
        asked = head(*upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", target="/healthz")
        status, headers, _ = await served.ask(asked.replace(b"PUT", b"GET") + b"more")
        assert (status, headers["connection"]) == (200, "close")


@pytest.mark.anyio
async def test_connections_are_kept_and_requests_in_a_row_are_answered_in_a_row():
    async with serving() as served:
        reader, writer = await served.connect()
        body = b'{"kind": "Foo"}'
        one = head(f"Content-Length: {len(body)}") + body
        for _ in range(3):
            writer.write(one * 5)
            for _ in range(5):
                found = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
                status, headers, _ = parsed(found)
                assert status == 201
                assert "connection" not in headers
                await reader.readexactly(int(headers["content-length"]))
        writer.write(one + b"\x00\x01\x02\r\n\r\n")
        status, headers, _ = parsed(await asyncio.wait_for(reader.read(), 20))
        assert status == 201
        writer.close()


@pytest.mark.anyio
async def test_a_body_in_two_parts_keeps_the_connection():
    def twice(port: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        found: list[int] = []
        for _ in range(3):
            connection.putrequest("PUT", "/tasks")
            connection.putheader("Content-Length", "15")
            connection.endheaders()
            connection.send(b'{"kind": "Foo"}')
            answer = connection.getresponse()
            answer.read()
            assert not answer.will_close
            found.append(answer.status)
        connection.close()
        return found

    async with serving() as served:
        assert await asyncio.to_thread(twice, served.port) == [201] * 3


def test_it_is_said_when_no_file_can_be_opened(monkeypatch: pytest.MonkeyPatch):
    assert no_descriptors() is None

    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(
        "taskscheduler.entrypoints.http.middleware.connection_limits.os.open", none_left
    )
    assert "ulimit -n" in str(no_descriptors())


def test_no_more_connections_than_files_are_accepted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(
        "taskscheduler.entrypoints.http.middleware.request_limits.descriptors_max", lambda: 256
    )
    assert ServerLimits().within_descriptors().connections == 192
    assert "at most 192 connections are accepted, not 1000" in caplog.text
    assert ServerLimits(connections=10).within_descriptors().connections == 10
