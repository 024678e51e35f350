"""Whatever is sent, the service answers, and never with a fault of its own."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_from_bytes, unquote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.http.answers import LEAK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.processes import Programs

ANSWER_S: Final = 10
FAR: Final = "2093-05-06T07:08:09.123456Z"

fuzz = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
likely: Final = {
    "kind": st.sampled_from(["Baz", "Nope", "Baz\0"]),
    "execute_at": st.datetimes(timezones=st.timezones()).map(str) | st.just(FAR),
    "payload": anything,
    "queue": st.just("idle-fuzz"),
    "priority": st.integers(-1, 11),
    "max_attempts": st.integers(0, 2**33),
    "timeout_s": st.floats(),
    "unique_key": st.text(max_size=600),
    "id": st.uuids().map(str),
}
one_wrong = st.sampled_from(sorted(likely)).flatmap(
    lambda wrong: st.fixed_dictionaries({wrong: likely[wrong] | anything})
)


def damaged(good: dict[str, Any], bad: dict[str, Any]) -> dict[str, Any]:
    """Return a task of which one field may be anything."""
    return {"kind": "Baz", "execute_at": FAR} | good | bad


tasks: st.SearchStrategy[dict[str, Any]] = st.builds(
    damaged,
    st.fixed_dictionaries({}, optional=likely),
    one_wrong,
) | st.dictionaries(st.sampled_from(sorted(likely)) | st.text(), anything)


@pytest.fixture(scope="module")
def connection(service: str, programs: Programs) -> Iterator[httpx.Client]:
    """Talk to the service; its log must have no fault afterwards."""
    with httpx.Client(base_url=service, timeout=ANSWER_S) as client:
        yield client
    log = (programs.folder / "0-api.err").read_text()
    assert '"level": "error"' not in log
    assert "Traceback" not in log


def acceptable(status: int, text: str) -> None:
    """Check what every answer must keep to."""
    # 204: another test drew the same id, and stored a task under it.
    assert status in {200, 201, 204, 400, 404, 405, 409, 413}, text
    assert LEAK.search(text.replace("\\", "")) is None or status < 400, text
    assert text == "" or json.loads(text) is not None


def sent(value: Any) -> bytes:
    """Return ``value`` as JSON, with NaN, lone surrogates and all."""
    return json.dumps(value).encode()


@fuzz
@given(task=tasks)
def test_any_task(connection: httpx.Client, task: Any):
    answer = connection.put("/tasks", content=sent(task))
    acceptable(answer.status_code, answer.text)


@fuzz
@given(batch=st.lists(tasks | anything, max_size=5) | anything)
def test_any_batch(connection: httpx.Client, batch: Any):
    answer = connection.post("/tasks/batch", content=sent(batch))
    acceptable(answer.status_code, answer.text)


@fuzz
@given(body=st.binary(max_size=300), path=st.sampled_from(["/tasks", "/tasks/batch"]))
def test_any_bytes(connection: httpx.Client, path: str, body: bytes):
    answer = connection.post(path, content=body)
    acceptable(answer.status_code, answer.text)


@fuzz
@given(data=st.data())
def test_any_damage_to_a_good_task(connection: httpx.Client, data: st.DataObject):
    good = sent({"kind": "Baz", "execute_at": FAR, "queue": "idle-fuzz", "payload": [1, "\0"]})
    at = data.draw(st.integers(0, len(good)))
    body = good[:at] + data.draw(st.binary(max_size=3)) + good[data.draw(st.integers(at, at + 3)) :]
    answer = connection.put("/tasks", content=body)
    acceptable(answer.status_code, answer.text)


names = st.sampled_from(["filter", "limit", "cursor", "force", ""]) | st.text()
values = (
    st.sampled_from(["status:", "kind:", "queue:", "status:Pending", "kind:Baz", ""])
    .flatmap(lambda start: st.binary().map(lambda end: start.encode() + end))
    .map(quote_from_bytes)
) | st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"))


@fuzz
@given(query=st.lists(st.tuples(names, values), max_size=4))
def test_any_query(service: str, query: list[tuple[str, str]]):
    asked = "&".join(f"{quote_from_bytes(name.encode())}={value}" for name, value in query)
    address = urlsplit(service)
    with closing(http.client.HTTPConnection(address.netloc, timeout=ANSWER_S)) as raw:
        raw.request("GET", f"/tasks?{asked}")
        answer = raw.getresponse()
        acceptable(answer.status, answer.read().decode())


@fuzz
@given(
    task_id=st.binary(min_size=1, max_size=50).map(quote_from_bytes) | st.uuids().map(str),
    call=st.sampled_from(["GET ", "DELETE ", "POST /cancel", "POST /retry", "POST /run"]),
)
def test_any_id(connection: httpx.Client, task_id: str, call: str):
    method, _, verb = call.partition(" ")
    answer = connection.request(method, f"/tasks/{task_id.replace('/', '%2F')}{verb}")
    # Its own words may come back to the caller: of them alone nobody learns anything.
    own = unquote(task_id)
    acceptable(
        answer.status_code, answer.text.replace(own, "") if LEAK.search(own) else answer.text
    )


@fuzz
@given(text=st.binary(min_size=1, max_size=100))
def test_what_is_not_http_hangs_nobody(service: str, text: bytes):
    address = urlsplit(service)
    assert address.hostname is not None
    assert address.port is not None
    with socket.create_connection((address.hostname, address.port), timeout=ANSWER_S) as raw:
        raw.sendall(text + b"\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        try:
            answer = raw.recv(65_536)
        except ConnectionResetError:
            return
    assert b" 500 " not in answer
