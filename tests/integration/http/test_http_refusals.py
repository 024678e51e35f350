"""What the service refuses, and that each refusal says what was expected, and where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.integration.http.answers import STATUSES, fault, listed, problem, stored

if TYPE_CHECKING:
    import httpx

FAR = "2093-05-06T07:08:09.123456Z"
KINDS = ("Bar", "Baz", "Foo", "Gate", "Quick", "Raise", "Typed", "http")


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"kind": None}, "$.kind"),
        ({"kind": 1}, "$.kind"),
        ({"kind": ""}, "$.kind"),
        ({"kind": "a b"}, "$.kind"),
        ({"kind": "Baz\n"}, "$.kind"),
        ({"kind": "Baz\0"}, "$.kind"),
        ({"kind": "B\N{LATIN SMALL LETTER A WITH DIAERESIS}z"}, "$.kind"),
        ({"kind": "x" * 129}, "$.kind"),
        ({"kind": "baz"}, "$.kind"),
        ({"color": "red"}, "$.color"),
        ({"Payload": 1}, "$.Payload"),
        ({"status": "Completed"}, "$.status"),
        ({"execute_at": "2093-05-06T07:08:09"}, "$.execute_at"),
        ({"execute_at": "2093-05-06"}, "$.execute_at"),
        ({"execute_at": "tomorrow"}, "$.execute_at"),
        ({"execute_at": ""}, "$.execute_at"),
        ({"execute_at": 3_900_000_000}, "$.execute_at"),
        ({"execute_at": "2093-02-30T00:00:00Z"}, "$.execute_at"),
        ({"execute_at": "9999-12-31T23:59:59.999999-12:00"}, "$.execute_at"),
        ({"execute_at": "0001-01-01T00:00:00+12:00"}, "$.execute_at"),
        ({"queue": ""}, "$.queue"),
        ({"queue": None}, "$.queue"),
        ({"queue": "a/b"}, "$.queue"),
        ({"priority": 10}, "$.priority"),
        ({"priority": -1}, "$.priority"),
        ({"priority": "5"}, "$.priority"),
        ({"priority": 5.5}, "$.priority"),
        ({"priority": True}, "$.priority"),
        ({"priority": 10**30}, "$.priority"),
        ({"max_attempts": 0}, "$.max_attempts"),
        ({"max_attempts": 10**9}, "$.max_attempts"),
        ({"timeout_s": 0}, "$.timeout_s"),
        ({"timeout_s": -1}, "$.timeout_s"),
        ({"timeout_s": 1e-9}, "$.timeout_s"),
        ({"timeout_s": 1e300}, "$.timeout_s"),
        ({"timeout_s": "1"}, "$.timeout_s"),
        ({"unique_key": ""}, "$.unique_key"),
        ({"unique_key": "\0"}, "$.unique_key"),
        ({"unique_key": "x" * 513}, "$.unique_key"),
        ({"unique_key": 7}, "$.unique_key"),
        ({"id": "7"}, "$.id"),
        ({"id": ""}, "$.id"),
        ({"id": 7}, "$.id"),
    ],
    ids=str,
)
def test_a_bad_field_is_named(client: httpx.Client, queue: str, bad: dict[str, Any], path: str):
    fault(client.put("/tasks", json={"kind": "Baz", "queue": queue, **bad}), path)
    assert listed(client, f"queue:{queue}") == []


def test_a_task_without_a_kind_is_refused(client: httpx.Client):
    assert "kind" in fault(client.put("/tasks", json={"execute_at": FAR}), "$.kind")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"kind=Baz",
        b"null",
        b"[]",
        b"7",
        b'"Baz"',
        b'{"kind": "Baz"} {"kind": "Baz"}',
        b'{"kind": "Baz",}',
        b"{'kind': 'Baz'}",
        b'\xef\xbb\xbf{"kind": "Baz"}',
        b'{"kind": "Baz", "payload": NaN}',
        b'{"kind": "Baz", "payload": Infinity}',
        b'{"kind": "Baz", "payload": "\\ud800"}',
        b'{"kind": "Baz", "payload": "\\udc00x"}',
        b'{"kind": "Baz", "payload": {"\\ud800\\ud800": 1}}',
        b'{"kind": "Baz", "payload": "\xed\xa0\x80"}',
        b'{"kind": "Baz", "payload": "\xff"}',
        b'{"kind": "Baz", "payload": "\x00"}',
        b'{"kind": "Baz", "payload": "\n"}',
        b'{"kind": "Baz", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"kind": "Baz", "payload": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 1_000_000,
        json.dumps({"kind": "Baz"}).encode("utf-16"),
    ],
    ids=lambda body: repr(body[:40]),
)
@pytest.mark.parametrize("path", ["/tasks", "/tasks/batch"])
def test_what_is_no_task_is_refused(client: httpx.Client, path: str, body: bytes):
    content = b"[" + body + b"]" if path.endswith("batch") and body.startswith(b"{") else body
    answer = client.post(path, content=content)
    assert problem(answer, 400)["errors"]
    assert len(answer.content) < 1_000


def test_a_body_that_is_not_json_is_called_so(client: httpx.Client):
    assert "JSON" in fault(client.put("/tasks", content=b"kind=Baz"), "$")


@pytest.mark.parametrize("kind", ["Nope", "foo", "F"])
def test_an_unknown_kind_is_answered_with_those_that_are_known(client: httpx.Client, kind: str):
    for answer, path in (
        (client.put("/tasks", json={"kind": kind}), "$.kind"),
        (client.post("/tasks/batch", json=[{"kind": "Baz"}, {"kind": kind}]), "$[1].kind"),
        (client.get("/tasks", params={"filter": f"kind:{kind}"}), "filter"),
    ):
        assert all(known in fault(answer, path) for known in KINDS)
        assert answer.json()["known_kinds"] == sorted(KINDS)


@pytest.mark.parametrize(
    "given",
    ["", "x", ":", "status", "status:", "colour:red", "kind:", "kind:a b", "queue:", "queue:\0"],
)
def test_what_is_no_filter_is_refused(client: httpx.Client, given: str):
    fault(client.get("/tasks", params={"filter": given}), "filter")
    fault(client.get("/tasks", params={"filter": ["kind:Baz", given]}), "filter")


@pytest.mark.parametrize("status", ["pending", "COMPLETED", "In Progress", "Done", " Pending"])
def test_a_status_that_is_none_is_answered_with_those_that_are(client: httpx.Client, status: str):
    said = fault(client.get("/tasks", params={"filter": f"status:{status}"}), "filter")
    assert all(known in said for known in STATUSES)


def test_an_unknown_parameter_is_refused(client: httpx.Client):
    fault(client.get("/tasks?status=Pending"), "status")
    fault(client.get("/tasks?filters=status:Pending"), "filters")


@pytest.mark.parametrize(
    "task_id", ["1", "x", "018e917e", "018e917e-0000-7000-8000-00000000000g", "%00", "%ff", "..."]
)
def test_what_is_no_uuid_is_refused(client: httpx.Client, task_id: str):
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("POST", "/run"),
    ):
        answer = client.request(method, f"/tasks/{task_id}{path}")
        assert "UUID" in fault(answer, "id")


def test_a_force_that_is_neither_true_nor_false_is_refused(client: httpx.Client):
    fault(client.delete(f"/tasks/{uuid4()}?force=perhaps"), "force")


@pytest.mark.parametrize("path", ["/nothing", "/tasks/a/b", "/schedulesx", "/%2e%2e/x"])
def test_an_unknown_path_is_not_found(client: httpx.Client, path: str):
    problem(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", "/tasks"), ("DELETE", "/tasks"), ("GET", "/tasks/{id}/cancel"), ("PUT", "/healthz")],
)
def test_a_wrong_method_is_answered_with_the_right_ones(
    client: httpx.Client, method: str, path: str
):
    answer = client.request(method, path.format(id=uuid4()))
    problem(answer, 405)
    assert answer.headers["allow"]


def test_a_payload_over_a_mebibyte_is_too_large(client: httpx.Client, queue: str):
    fits = {"kind": "Baz", "queue": queue, "payload": "x" * (2**20 - 2)}
    stored(client.put("/tasks", json=fits))
    problem(client.put("/tasks", json=fits | {"payload": "x" * (2**20 - 1)}), 413)
    problem(client.post("/tasks/batch", json=[fits, fits | {"payload": "x" * 2**20}]), 413)
    assert len(listed(client, f"queue:{queue}")) == 1


def test_a_body_over_the_limit_is_too_large(client: httpx.Client):
    problem(client.post("/tasks/batch", content=b" " * (16 * 2**20 + 1)), 413)
    chunks = (b" " * 2**20 for _ in range(17))
    problem(client.post("/tasks/batch", content=chunks), 413)
