"""What goes in comes out to the letter, and what a page holds is bounded by its bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.http.answers import fault, problem, put, stored

if TYPE_CHECKING:
    import httpx

MIB: Final = 1024 * 1024
FAR: Final = "2093-05-06T07:08:09.123456Z"
PAYLOADS: Final = [
    b"1.10",
    b"-0.0",
    b"1e400",
    b"1E+2",
    b"9" * 4_000,
    b"0.1000000000000000055511151231257827",
    b'{"a": 1, "a": 2, "": {"a":[ ]}}',
    b'{"b":  1,\n\t "a" : 2}',
    b'"\\u00e9\\/\\u0000"',
    '"\u00e9\u2028\U0001f600"'.encode(),
    b"[" * 500 + b"]" * 500,
]


def kept(answer: httpx.Response) -> bytes:
    """Return the payload of a task or a schedule as it is sent."""
    assert answer.status_code == 200, answer.text
    found = re.search(rb'"payload":(.*?),"(?:attempts"|cron")', answer.content, re.DOTALL)
    assert found is not None, answer.text
    return found[1]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: repr(payload[:20]))
def test_a_payload_is_kept_to_the_letter(client: httpx.Client, queue: str, payload: bytes):
    """By every way in, and in every answer."""
    body = b'{"kind": "Baz", "queue": "%s", "payload":  %s }' % (queue.encode(), payload)
    ids = [stored(client.put("/tasks", content=body)), stored(client.post("/tasks", content=body))]
    named = client.put("/tasks", content=body, headers={"Idempotency-Key": queue})
    ids.append(stored(named))
    keyed = body.replace(b"{", b'{"unique_key": "%s", ' % queue.encode(), 1)
    ids.append(stored(client.put("/tasks", content=keyed)))
    for number in (1, 600):  # as a statement, and as a copy
        answer = client.post("/tasks/batch", content=b"[" + b",".join([body] * number) + b"]")
        assert answer.status_code == 201, answer.text
        ids += answer.json()["ids"][-1:]
    edited = put(client, kind="Baz", queue=queue, execute_at=FAR)
    answer = client.patch(f"/tasks/{edited}", content=b'{"payload": %s}' % payload)
    assert kept(answer) == payload
    for task_id in (*ids, edited):
        assert kept(client.get(f"/tasks/{task_id}")) == payload
    whole = client.get("/tasks", params={"filter": f"queue:{queue}", "limit": 1000}).content
    assert whole.count(b'"payload":' + payload + b"}") == 606


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: repr(payload[:20]))
def test_a_schedules_payload_is_kept_to_the_letter(
    client: httpx.Client, queue: str, payload: bytes
):
    """And so is that of the tasks that it stores."""
    rest = b'"kind": "Baz", "cron": "@yearly", "queue": "%s"' % queue.encode()
    at = f"/schedules/{queue}"
    made = client.put(at, content=b'{%s, "payload":  %s }' % (rest, payload))
    assert made.status_code == 201, made.text
    assert kept(client.get(at)) == payload
    client.patch(at, content=b'{"payload": [1 , %s]}' % payload)
    assert kept(client.get(at)) == b"[1 , %s]" % payload
    task_id = client.post(f"{at}/trigger").json()["id"]
    assert kept(client.get(f"/tasks/{task_id}")) == b"[1 , %s]" % payload
    assert client.delete(at).status_code == 204
    again = b'{"name": "%s", %s, "payload": %s}' % (queue.encode(), rest, payload)
    assert client.post("/schedules", content=again).status_code == 201
    assert kept(client.get(at)) == payload
    assert client.delete(at).status_code == 204


@pytest.mark.parametrize("text", [b'"\xff"', b'"\xed\xa0\x80"', b'{"\xc3": 1}'])
def test_a_payload_that_is_no_utf_8_is_refused(client: httpx.Client, queue: str, text: bytes):
    """Everywhere."""
    body = b'{"kind": "Baz", "payload": ' + text + b"}"
    fault(client.put("/tasks", content=body), "$.payload")
    fault(client.post("/tasks/batch", content=b'[{"kind": "Baz"}, ' + body + b"]"), "$[1].payload")
    task_id = put(client, kind="Baz", queue=queue, execute_at=FAR)
    fault(client.patch(f"/tasks/{task_id}", content=b'{"payload": ' + text + b"}"), "$.payload")
    rest = body.replace(b'"Baz"', b'"Baz", "cron": "@daily"')
    fault(client.put(f"/schedules/{queue}", content=rest), "$.payload")


def test_a_payload_that_is_too_long_is_refused_unread(client: httpx.Client, queue: str):
    """Sixteen megabytes of empty lists, just within the body's limit."""
    head = b'{"kind": "Baz", "payload": ['
    body = head + b"[]," * ((16 * MIB - len(head) - 4) // 3) + b"[]]}"
    problem(client.put("/tasks", content=body), 413)
    cut = body[: 15 * MIB].rsplit(b",", 1)[0]
    problem(client.post("/tasks/batch", content=b"[" + cut + b"]}]"), 413)
    at = f"/schedules/{queue}"
    rest = body.replace(b'"Baz"', b'"Baz","cron":"@daily"', 1)[: 15 * MIB].rsplit(b",", 1)[0]
    problem(client.put(at, content=rest + b"]}"), 413)


def test_a_page_ends_where_its_payloads_grow_too_long(client: httpx.Client, queue: str):
    """However many were asked for; and the next goes on from there."""
    ids = [
        put(client, kind="Baz", queue=queue, payload=f"{n}" + "x" * (MIB - 10)) for n in range(10)
    ]
    small = put(client, kind="Baz", queue=queue)
    found: list[str] = []
    sizes: list[int] = []
    address: str | None = f"/tasks?filter=queue:{queue}&limit=1000"
    while address is not None:
        answer = client.get(address)
        assert len(answer.content) < 9 * MIB
        page = [task["id"] for task in answer.json()]
        found += page
        sizes.append(len(page))
        address = answer.links.get("next", {}).get("url")
    assert found == [small, *reversed(ids)]
    assert sizes == [9, 2]
    client.post("/tasks/delete", params={"filter": f"queue:{queue}"})
