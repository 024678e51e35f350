"""All that is wrong with a body is told at once, and a payload is kept to the letter."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from taskscheduler.domain.errors import InvalidTask, PayloadTooLarge
from taskscheduler.domain.values import PAYLOAD_BYTES_MAX
from taskscheduler.entrypoints.http.decoding import (
    FAULTS_MAX,
    LOOKED_THROUGH_MAX,
    decoded,
    decoder,
)
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.routes.tasks import check_number, new_task
from taskscheduler.entrypoints.messages.schedules import NewScheduleMessage, ScheduleEditMessage
from taskscheduler.entrypoints.messages.tasks import NewTaskMessage, TaskEditMessage, payload_of
from taskscheduler.testing import in_memory

ONE, MANY = decoder(NewTaskMessage), decoder(list[NewTaskMessage])
MIB = 1024 * 1024


def faults(type_: Any, body: bytes) -> dict[str, str]:
    with pytest.raises(BadRequest) as refused:
        decoded(type_, body)
    found = {fault.path: fault.reason for fault in refused.value.faults}
    assert all(f"{path}: {reason}" in str(refused.value) for path, reason in found.items())
    return found


def test_every_field_at_fault_is_told():
    body = b"""{
        "execute_at": "2030-01-01T00:00:00", "priority": 10, "queue": "a b", "timeout_s": "x",
        "max_attempts": 0, "unique_key": "", "id": "7", "payload": 1e999, "exectue_at": 1
    }"""
    found = faults(ONE, body)
    assert found.keys() == {
        *("$.execute_at", "$.priority", "$.queue", "$.timeout_s", "$.max_attempts"),
        *("$.unique_key", "$.id", "$.kind", "$.exectue_at"),
    }
    assert "missing required" in found["$.kind"]
    assert "unknown field" in found["$.exectue_at"]
    assert "offset" in found["$.execute_at"]
    assert "<= 9" in found["$.priority"]


def test_every_task_of_a_batch_is_looked_through():
    found = faults(MANY, b'[{"kind": "a"}, 5, {"kind": "a b", "priority": true}, {}]')
    assert found.keys() == {"$[1]", "$[2].kind", "$[2].priority", "$[3].kind"}


@pytest.mark.parametrize(
    ("type_", "body", "places"),
    [
        (TaskEditMessage, b'{"priority": -1, "kind": "a"}', {"$.priority", "$.kind"}),
        (
            NewScheduleMessage,
            b'{"cron": "", "every_s": 0}',
            {"$.cron", "$.every_s", "$.name", "$.kind"},
        ),
        (ScheduleEditMessage, b'{"starts_at": 1, "catch_up": "x"}', {"$.starts_at", "$.catch_up"}),
        (NewTaskMessage, b"[]", {"$"}),
        (NewTaskMessage, b"{", {"$"}),
        (NewTaskMessage, b"", {"$"}),
        (NewTaskMessage, b'{"kind": "a", "payload": ' + b"[" * 5000 + b"]" * 5000 + b"}", {"$"}),
        (list[NewTaskMessage], b'{"kind": "a"}', {"$"}),
        (list[NewTaskMessage], b"[" * 5000, {"$"}),
        (NewTaskMessage, b'{"priority": 10, "payload": 1e}', {"$"}),
    ],
)
def test_other_bodies_are_read_alike(type_: Any, body: bytes, places: set[str]):
    assert faults(decoder(type_), body).keys() == places


def test_faults_are_told_up_to_a_number_and_names_up_to_a_length():
    body = b"{" + b",".join(b'"%d%s": 1' % (n, b"x" * 500) for n in range(1000)) + b"}"
    found = faults(ONE, body)
    assert len(found) == FAULTS_MAX
    assert max(map(len, found)) < 200


def test_of_a_very_long_body_the_first_fault_alone_is_told():
    body = b'{"priority": 10, "queue": "", "payload": "%s"}' % (b"x" * LOOKED_THROUGH_MAX)
    assert faults(ONE, body).keys() == {"$.priority"}


PAYLOADS = [
    b"1.10",
    b"1e999",
    b"-0",
    b"0.1000000000000000055511151231257827",
    b"123456789012345678901234567890",
    b'{"a": 1, "a": 2}',
    b'{"b":  1,\n\t"a": [ ]}',
    b'"\\u00e9\\/"',
    '"\u00e9\u2028\U0001f600"'.encode(),
    b'"\\u0000"',
    b"null",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_kept_to_the_letter(payload: bytes):
    body = b'{"kind": "a", "payload":  ' + payload + b" }"
    assert payload_of(decoded(ONE, body).payload) == payload
    (message,) = decoded(MANY, b"[" + body + b"]")
    assert payload_of(message.payload) == payload
    edit: Any = decoded(decoder(TaskEditMessage), body.replace(b'"kind": "a", ', b""))
    assert bytes(edit.changes()["payload"]) == payload


def test_a_payload_that_is_left_out_is_null():
    assert payload_of(decoded(ONE, b'{"kind": "a"}').payload) == b"null"
    assert "payload" not in decoded(decoder(TaskEditMessage), b'{"priority": 1}').changes()


def test_the_length_of_a_payload_is_looked_at_before_anything_is_made_of_it():
    """Of 16 MiB of empty lists every one would be an object."""
    head, tail = b'{"kind": "a", "payload": [', b"[]]}"
    body = head + b"[]," * ((16 * MIB - len(head) - len(tail)) // 3) + tail
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            payload_of(decoded(ONE, body).payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PAYLOAD_BYTES_MAX
    with pytest.raises(PayloadTooLarge):
        decoded(decoder(TaskEditMessage), b'{"payload": [' + b"[]," * MIB + b"[]]}").changes()


def test_a_batch_is_counted_before_its_tasks_are_made():
    """Ten thousand may come; of a million none becomes an object of its own."""
    check_number(b"[" + b'{"kind":"a"},' * 9_999 + b'{"kind":"a"}]')
    # The word in a payload is no task.
    check_number(b'[{"kind":"a","payload":[' + b'"kind",' * 20_000 + b"1]}]")
    with pytest.raises(BadRequest, match="10000 tasks, not 10001"):
        check_number(b"[" + b'{"kind":"a"},' * 10_000 + b'{"kind":"a"}]')


@pytest.mark.parametrize("text", [b'"\xff"', b'"\xed\xa0\x80"', b'{"\xc3": 1}'])
def test_a_payload_is_utf_8(text: bytes):
    """It is checked once, as a task."""
    message = decoded(ONE, b'{"kind": "a", "payload": ' + text + b"}")
    with pytest.raises(InvalidTask, match="payload: must be UTF-8"):
        new_task(in_memory(), message)
