"""Nothing that is sent to the service makes it fail, hang, or store what nobody asked for."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes
from uuid import uuid4

from tests.chaos.lab import READY_S, ROOT, SCHEMA, Lab
from tests.chaos.report import Options, Row

NAME = "fuzz"
CLIENTS = 8
ANSWER_S = 10.0
LIE_S = 0.05
SEEDED = 50
OK, CREATED, REFUSED_FROM, FAILED_FROM = 200, 201, 400, 500
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)\s")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
FAR = "2093-05-06T07:08:09.123456Z"
GOOD = {
    "kind": "Baz",
    "execute_at": FAR,
    "payload": {"text": "snow \N{SNOWMAN}", "list": [1, 2.5, None, True]},
    "queue": "idle",
    "priority": 3,
    "max_attempts": 4,
    "timeout_s": 1.5,
    "expires_at": "2094-01-01T00:00:00Z",
}
NOT_TEXT: list[Any] = [0, -1, 1.5, True, [], {}, [[]], "", "\0", "a b", "x" * 200, "\ud800"]
NOT_INTEGER: list[Any] = [
    -1, 0.5, 10**9, 10**30, -(2**63), 1e308, True, "5", "", [], {}, float("nan"), float("-inf"),
]  # fmt: skip
NOT_MOMENT: list[Any] = [
    0, 1.5, True, [], {}, "", "tomorrow", "2093-05-06", "2093-05-06T07:08:09",
    "2093-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "99999-01-01T00:00:00Z",
    "2093-05-06T07:08:09+99:00", "2093-05-06T25:08:09Z", "\ud800",
]  # fmt: skip
WRONG: dict[str, list[Any]] = {
    "kind": [None, "Nope", "baz", "Baz\n", *NOT_TEXT],
    "execute_at": NOT_MOMENT,
    "payload": [float("nan"), float("inf"), "\udfff", {"\ud800": 1}, ["x", "\ud83d"]],
    "queue": [None, "a/b", "idle\n", *NOT_TEXT],
    "priority": [None, 10, *NOT_INTEGER],
    "max_attempts": [0, 32_768, *NOT_INTEGER],
    "timeout_s": [0, -1, 1e-9, 1e300, True, "1", [], {}, float("nan"), float("inf"), 10**400],
    "unique_key": [0, 1.5, True, [], {}, "", "\0", "x" * 513, "\udc00"],
    "expires_at": NOT_MOMENT,
    "id": [0, 1.5, True, [], {}, "", "7", "x" * 36, "018e917e-0000-7000-8000-00000000000g"],
    "status": ["Completed", None],
    "\ud800": [1],
}


class Input(NamedTuple):
    """What is sent, and what may come of it."""

    sort: str
    sent: bytes
    may_close: bool = False
    """It is not HTTP: the service may also hang up without a word."""
    lies: bool = False
    """More was announced than comes, so that there may be nothing to answer."""


def request(
    method: str | bytes,
    target: str | bytes,
    body: bytes = b"",
    *headers: bytes,
    length: bool = True,
) -> bytes:
    """Return a request as it is sent, however wrong its parts are."""
    method = method.encode() if isinstance(method, str) else method
    target = target.encode() if isinstance(target, str) else target
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: localhost", *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def good(**more: Any) -> bytes:
    """Return a good task as JSON, but for ``more``."""
    return json.dumps(GOOD | more).encode()


def store(chance: random.Random, task: bytes) -> bytes:
    """Return the request to store ``task``, alone or as the last of a batch."""
    if chance.random() < 0.3:
        return request("POST", "/tasks/batch", b"[" + good() + b"," + task + b"]")
    return request(chance.choice(["PUT", "POST"]), "/tasks", task)


def random_bytes(chance: random.Random) -> Input:
    """Make a body of noise; its first byte begins no JSON."""
    noise = chance.choice(b"\x00\xff}x\x80").to_bytes() + chance.randbytes(chance.randrange(300))
    return Input("random bytes", store(chance, noise))


def truncated(chance: random.Random) -> Input:
    """Make a body that ends too early."""
    text = good()
    cut = text[: chance.randrange(len(text))]
    return Input("truncated", request("PUT", chance.choice(["/tasks", "/tasks/batch"]), cut))


def mutated(chance: random.Random) -> Input:
    """Make a good body with a byte in it that JSON has nowhere."""
    text, at = good(), chance.randrange(200)
    byte = bytes([chance.choice([*range(9), 0xC0, 0xED, 0xF5, 0xFF])])
    return Input("mutated", store(chance, text[:at] + byte + text[at + chance.randrange(2) :]))


def wrong_type(chance: random.Random) -> Input:
    """Make one field what it must not be."""
    name = chance.choice([*WRONG])
    return Input(f"wrong {name!a}", store(chance, good(**{name: chance.choice(WRONG[name])})))


def absurd_number(chance: random.Random) -> Input:
    """Make a number that the field cannot hold, as text: Python would not write it.

    A payload is kept as it came, so it may hold whatever JSON calls a number.
    """
    name = chance.choice(["priority", "max_attempts", "timeout_s", "payload"])
    none = ["00", "0x1", "1.", ".5", "1e", "1_0"]
    large = ["9" * chance.randrange(400, 9_000), "1e400", "1e999999999"]
    number = chance.choice(["", "-"]) + chance.choice(none if name == "payload" else none + large)
    text = json.dumps({"kind": "Baz", "queue": "idle", name: 0})
    return Input("absurd number", store(chance, text.replace(": 0}", f": {number}}}").encode()))


def deep(chance: random.Random) -> Input:
    """Make nesting that no parser follows."""
    depth = chance.randrange(5_000, 20_000)
    begin, end = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    closed = chance.random() < 0.5
    payload = begin * depth + (b"1" + end * depth if closed else b"")
    return Input("deep", store(chance, b'{"kind": "Baz", "payload": ' + payload + b"}"))


def huge(chance: random.Random) -> Input:
    """Make text that is too long."""
    if chance.random() < 0.02:
        return Input("huge payload", store(chance, good(payload="x" * 2**20)))
    name = chance.choice(["kind", "queue", "unique_key", "id", "execute_at"])
    text = chance.choice(["x", "\N{SNOWMAN}", "\0"]) * chance.randrange(513, 20_000)
    return Input(f"huge {name}", store(chance, good(**{name: text})))


def bad_query(chance: random.Random) -> Input:
    """Ask what cannot be asked."""
    noise = quote_from_bytes(chance.randbytes(chance.randrange(1, 20)), safe="")
    query = chance.choice([
        f"limit={chance.choice(['0', '-1', '1001', '9' * 400, 'NaN', 'x', '%00'])}",
        f"filter={chance.choice(['', 'x', ':', 'status:', 'status:x', 'kind:', 'color:red'])}",
        f"filter={chance.choice(['status', 'kind', 'queue'])}:%00{noise}",
        f"cursor=x{noise}",
        f"filters={noise}",
        f"limit=1&filter=kind:Baz&%ff{noise}=1",
    ])  # fmt: skip
    return Input("bad query", request("GET", f"/tasks?{query}"))


def bad_path(chance: random.Random) -> Input:
    """Ask for what is not there."""
    noise = quote_from_bytes(chance.randbytes(chance.randrange(1, 40)), safe="")
    method, verb = chance.choice(
        [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry"), ("POST", "/run")]
    )
    path = chance.choice([f"/tasks/x{noise}{verb}", f"/no{noise}", f"/tasks/{uuid4()}{verb}"])
    return Input("bad path", request(method, path))


def bad_method(chance: random.Random) -> Input:
    """Ask in a way that there is not."""
    known = chance.choice([("PATCH", "/tasks"), ("DELETE", "/tasks"), ("PUT", "/healthz"),
                           ("PATCH", f"/tasks/{uuid4()}"), ("TRACE", "/tasks")])  # fmt: skip
    if chance.random() < 0.7:
        return Input("bad method", request(known[0], known[1], good()))
    method = chance.choice([b"FROB", b"put", b"P\x00T", b"\xff", b"GET" * 1_000, b"{"])
    return Input("no method", request(method, "/tasks", good()), may_close=True)


def bad_header(chance: random.Random) -> Input:
    """Say about a good task what must not be said."""
    if chance.random() < 0.5:
        key = chance.choice([b"", b"x" * 513, b"\xff\x80", b"x" * 20_000])
        return Input("bad key", request("PUT", "/tasks", good(), b"Idempotency-Key: " + key))
    header, length = chance.choice([
        (b"no colon", True),
        (b"Nul: \x00", True),
        (b": nameless", True),
        (b"Content-Length: x", False),
        (b"Content-Length: -1", False),
        (b"Content-Length: 1\r\nContent-Length: 2", False),
        (b"Content-Length: " + b"9" * 40, False),
        (b"Transfer-Encoding: chunked\r\nX: y", False),
    ])  # fmt: skip
    return Input(
        "no header", request("PUT", "/tasks", good(), header, length=length), may_close=True
    )


def lie(chance: random.Random) -> Input:
    """Announce another length than comes."""
    body = good()
    if chance.random() < 0.5:
        said = chance.randrange(1, len(body))
        sent = request("PUT", "/tasks", body, b"Content-Length: %d" % said, length=False)
        return Input("too much comes", sent, may_close=True)
    said = len(body) + chance.choice([1, 100, 2**20, 2**40])
    sent = request("PUT", "/tasks", body, b"Content-Length: %d" % said, length=False)
    return Input("too little comes", sent, may_close=True, lies=True)


MAKERS: dict[Callable[[random.Random], Input], int] = {
    random_bytes: 12, truncated: 12, mutated: 15, wrong_type: 25, absurd_number: 5, deep: 2,
    huge: 4, bad_query: 8, bad_path: 7, bad_method: 4, bad_header: 5, lie: 1,
}  # fmt: skip


@dataclass
class Found:
    """What came of it."""

    sent: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    worst_s: float = 0.0
    violations: list[str] = field(default_factory=list)


class Client:
    """One connection, kept as long as the service keeps it."""

    def __init__(self, port: int) -> None:
        """Talk to the service at ``port``."""
        self.port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, given: Input) -> int | None:
        """Return the status of the answer; None if the service hung up instead."""
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        reader, writer = self._open
        status = None
        try:
            writer.write(given.sent)
            await writer.drain()
            if given.lies:
                await asyncio.sleep(LIE_S)
                writer.write_eof()
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if (length := LENGTH.search(head)) is not None:
                await reader.readexactly(int(length[1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.close()
        else:
            if given.may_close or b"\r\nconnection: close" in head.lower():
                await self.close()
        return status

    async def close(self) -> None:
        """Hang up."""
        if self._open is not None:
            _, writer = self._open
            self._open = None
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def client(port: int) -> AsyncGenerator[Client]:
    """Connect."""
    connected = Client(port)
    try:
        yield connected
    finally:
        await connected.close()


async def fuzz(port: int, count: int, seed: int) -> Found:
    """Send ``count`` inputs over a few connections."""
    found, chance, numbers = Found(), random.Random(seed), iter(range(count))
    makers, weights = [*MAKERS], [*MAKERS.values()]

    async def caller() -> None:
        async with client(port) as connected:
            for number in numbers:
                (make,) = chance.choices(makers, weights)
                await judge(connected, make(chance), number, found)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(caller())
    return found


async def judge(connected: Client, given: Input, number: int, found: Found) -> None:
    """Send one input and look at what comes of it."""
    began = time.monotonic()
    found.sent[given.sort] += 1
    try:
        async with asyncio.timeout(ANSWER_S):
            status = await connected.send(given)
    except TimeoutError:
        await connected.close()
        wrong = f"no answer within {ANSWER_S:g} s"
    else:
        found.statuses[status or 0] += 1
        found.worst_s = max(found.worst_s, time.monotonic() - began)
        if status is None and given.may_close:
            return
        if status is not None and REFUSED_FROM <= status < FAILED_FROM:
            return
        wrong = "hung up" if status is None else f"answered {status}"
    found.violations.append(f"other: input {number}, {given.sort}: {wrong}: {given.sent[:400]!r}")


async def call(port: int, method: str, target: str, body: bytes = b"") -> int | None:
    """Send one good request."""
    async with asyncio.timeout(ANSWER_S), client(port) as connected:
        return await connected.send(Input("good", request(method, target, body)))


@contextmanager
def service(lab: Lab) -> Generator[int]:
    """Run ``taskscheduler api``; give the port that it has chosen."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TASKSCHEDULER", "PG"))}
    command = [sys.executable, "-m", "taskscheduler", "api", "--port=0"]
    command += [f"--schema={SCHEMA}", "--log-level=warning", "--log-format=json"]
    said, logged = lab.folder / "api.out", lab.folder / "api.log"
    with said.open("wb") as out, logged.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=kept | {"DATABASE_URL": lab.url},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_S
        while (found := ADDRESS.search(said.read_text())) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                message = f"the service did not start:\n{logged.read_text()[-2000:]}"
                raise RuntimeError(message)
            time.sleep(0.02)
        yield int(found[1])
    finally:
        process.terminate()
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def is_ready(port: int) -> bool:
    """Tell whether the service answers and has its database."""
    try:
        return await call(port, "GET", "/readyz") == OK
    except (OSError, TimeoutError):
        return False


def stored(lab: Lab) -> set[str]:
    """Return the ids of all tasks, from the tables themselves."""
    with lab.server.admin() as connection:
        rows = connection.execute("SELECT id FROM live UNION ALL SELECT id FROM finished")
        return {str(row[0]) for row in rows}


async def trial(lab: Lab, port: int, count: int, seed: int) -> Found:
    """Store good tasks, send all that is bad, and see that nothing else has changed."""
    deadline = time.monotonic() + READY_S
    while not await is_ready(port):
        if time.monotonic() > deadline:
            said = (lab.folder / "api.log").read_text(errors="replace")[-2000:]
            message = f"the service is not ready:\n{said}"
            raise RuntimeError(message)
        await asyncio.sleep(0.1)
    for _ in range(SEEDED):
        if await call(port, "PUT", "/tasks", good()) != CREATED:
            message = "no good task is stored"
            raise RuntimeError(message)
    before = stored(lab)
    found = await fuzz(port, count, seed)
    after = stored(lab)
    found.violations += [f"lost: {task} is gone" for task in before - after]
    found.violations += [f"other: {task}: nobody asked for it" for task in after - before]
    if await call(port, "PUT", "/tasks", good()) != CREATED or len(stored(lab)) != len(after) + 1:
        found.violations.append("other: a good task is not stored any more")
    return found


def run(options: Options) -> list[Row]:
    """Send what is bad, and count what comes of it."""
    count = options.tasks or (3_000 if options.short else 100_000)
    with Lab(options.folder / NAME, seed=options.seed) as lab:
        with service(lab) as port:
            found = asyncio.run(trial(lab, port, count, options.seed))
        log = (lab.folder / "api.log").read_text(errors="replace")
    if '"level": "error"' in log or "Traceback" in log:
        found.violations.append(f"other: the service logged a fault: {log[-2000:]}")
    answers = ", ".join(
        f"{number} x {status or 'hung up'}" for status, number in sorted(found.statuses.items())
    )
    lost = sum(text.startswith("lost") for text in found.violations)
    return [
        Row(
            fault="bad requests to the service",
            times=sum(found.sent.values()),
            tasks=SEEDED + 1,
            lost=lost,
            other=len(found.violations) - lost,
            worst_s=found.worst_s,
            command=options.command(NAME),
            violations=found.violations,
            remarks=[answers, ", ".join(f"{n} {sort}" for sort, n in found.sent.most_common())],
        )
    ]
