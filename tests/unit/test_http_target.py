"""The kind ``http``: what may be asked for, what is sent, and what an answer means."""

from __future__ import annotations

import base64
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from taskscheduler import TaskStatus, Worker
from taskscheduler.application.http_target.handler import (
    Answer,
    Call,
    HttpTarget,
    TargetRefused,
    TargetUnreachable,
    http_handlers,
    shown,
)
from taskscheduler.application.http_target.signing import Signer
from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from taskscheduler import Attempt, Scheduler, Task

pytestmark = pytest.mark.anyio

URL = "https://shop.example/hook"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 24).decode()
NOW = 1_800_000_000


class Scripted:
    """A caller that answers as it was told."""

    def __init__(self, outcome: Answer | Exception) -> None:
        """Always answer with ``outcome``."""
        self.outcome = outcome
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Answer:
        """Note the call, and answer."""
        self.calls.append(call)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def answer(status: int, body: bytes = b"", /, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=body)


async def run(
    scheduler: Scheduler, outcome: Answer | Exception, *secrets: str, **payload: Any
) -> tuple[Task, list[Attempt], Scripted]:
    caller = Scripted(outcome)
    handlers = http_handlers(caller, Signer(secrets), version="1.2.3", now=lambda: NOW)
    task_id = await scheduler.schedule("http", {"url": URL, **payload})
    worker = Worker(scheduler, handlers, random=lambda: 0.0)
    assert await worker.turn() == 1
    await worker.deregister()
    task = await scheduler.get(task_id)
    return task, [*await scheduler.attempts(task_id)], caller


def said(attempts: list[Attempt]) -> str:
    (error,) = [attempt.error for attempt in attempts]
    assert error is not None
    return f"{error.type}: {error.message}"


async def test_what_is_sent(scheduler_in_memory: Scheduler):
    payload = {"headers": {"Authorization": "Bearer x"}, "body": {"n": 1}}
    task, _, caller = await run(scheduler_in_memory, answer(204), **payload)
    assert task.status is TaskStatus.COMPLETED
    (call,) = caller.calls
    assert (call.method, call.url, call.timeout_s, call.redirects) == ("POST", URL, 30.0, 0)
    assert msgspec.json.decode(call.body) == {"n": 1}
    assert call.headers == {"Authorization": "Bearer x", "content-type": "application/json"}
    assert call.proof == {}
    assert call.common == {
        "idempotency-key": str(task.id),
        "taskscheduler-attempt": "1",
        "user-agent": "taskscheduler/1.2.3",
    }


@pytest.mark.parametrize(
    ("body", "content", "media_type"),
    [
        ("grüße", "grüße".encode(), "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
        (7, b"7", "application/json"),
        ([], b"[]", "application/json"),
        (None, b"", None),
    ],
)
def test_a_body_is_text_json_or_nothing(body: object, content: bytes, media_type: str | None):
    payload = msgspec.json.encode({"url": URL, "body": body})
    assert msgspec.json.decode(payload, type=HttpTarget).content() == (content, media_type)


async def test_a_media_type_of_ones_own_is_kept(scheduler_in_memory: Scheduler):
    headers = {"Content-Type": "application/xml", "User-Agent": "mine"}
    _, _, caller = await run(scheduler_in_memory, answer(200), headers=headers, body="<a/>")
    assert caller.calls[0].headers == headers
    assert "user-agent" not in caller.calls[0].common


async def test_every_secret_signs(scheduler_in_memory: Scheduler):
    task, _, caller = await run(scheduler_in_memory, answer(200), SECRET, OTHER, body={"é": "\n"})
    (call,) = caller.calls
    assert call.proof["webhook-id"] == str(task.id)
    assert call.proof["webhook-timestamp"] == str(NOW)
    assert len(call.proof["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_others_agree_with_the_signature(secret: str, monkeypatch: pytest.MonkeyPatch):
    body = '{"é": 1}'.encode()
    proof = Signer([OTHER, SECRET]).headers("msg_1", NOW, body)
    monkeypatch.setattr("standardwebhooks.webhooks.Webhook._Webhook__verify_timestamp", stamp)
    assert Webhook(secret).verify(body, proof) == {"é": 1}
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secret).verify(body + b" ", proof)


def stamp(_: object, header: str) -> Any:

    return datetime.fromtimestamp(float(header), UTC)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_short", "not base64!" * 4, base64.b64encode(b"x" * 65).decode()]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str):
    with pytest.raises(InvalidConfiguration, match="--webhook-secret: secret 2 must") as refused:
        Signer([SECRET, secret])
    assert not secret.removeprefix("whsec_") or secret not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        *((status, TaskStatus.COMPLETED) for status in (200, 201, 204, 299)),
        *((status, TaskStatus.FAILED) for status in (301, 304, 400, 401, 403, 404, 410, 422)),
        *((status, TaskStatus.PENDING) for status in (408, 409, 423, 425, 429)),
        *((status, TaskStatus.PENDING) for status in (500, 501, 502, 503, 504, 599)),
    ],
)
async def test_a_status_says_what_becomes_of_the_task(
    scheduler_in_memory: Scheduler, status: int, becomes: TaskStatus
):
    task, attempts, _ = await run(scheduler_in_memory, answer(status, b"because"))
    assert task.status is becomes
    if becomes is not TaskStatus.COMPLETED:
        verdict = "Retry" if becomes is TaskStatus.PENDING else "Discard"
        assert said(attempts).startswith(f"{verdict}: POST {URL}: {status}: because")


async def test_expected_statuses_are_the_tasks_own(scheduler_in_memory: Scheduler):
    expected = [204, "300-399", "4xx"]
    for status in (204, 300, 399, 404, 429):
        task, _, _ = await run(scheduler_in_memory, answer(status), expected=expected)
        assert task.status is TaskStatus.COMPLETED
    task, _, _ = await run(scheduler_in_memory, answer(200), expected=expected)
    assert task.status is TaskStatus.PENDING


DATED = {"date": "Fri, 15 Jan 2027 12:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": " 120 "}, 120),
        ({"retry_after": "0"}, 1),
        ({"retry_after": "9" * 400}, 86_400),
        ({"retry_after": "Fri, 15 Jan 2027 12:00:30 GMT", **DATED}, 30),
        ({"retry_after": "Friday, 15-Jan-27 12:00:30 GMT", **DATED}, 30),
        ({"retry_after": "Fri Jan 15 12:00:30 2027", **DATED}, 30),
        ({"retry_after": "Fri, 15 Jan 2027 08:00:09 GMT"}, 9),
        ({"retry_after": "Fri, 15 Jan 2027 11:00:00 GMT", **DATED}, 1),
        ({"retry_after": "Fri, 15 Jan 2099 11:00:00 GMT", **DATED}, 86_400),
        *(({"retry_after": nonsense}, None) for nonsense in ("-5", "soon", "1e3", "٣", "", "1.5")),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured_within_reason(
    scheduler_in_memory: Scheduler, status: int, headers: dict[str, str], wait_s: int | None
):
    task, attempts, _ = await run(scheduler_in_memory, answer(status, b"", **headers))
    assert task.status is TaskStatus.PENDING
    (attempt,) = attempts
    assert attempt.finished_at is not None
    policy_s = 1  # after the first attempt
    expected = timedelta(seconds=policy_s if wait_s is None else wait_s)
    assert task.process_at - attempt.finished_at == expected


async def test_no_answer_is_tried_again(scheduler_in_memory: Scheduler):
    task, attempts, _ = await run(scheduler_in_memory, TargetUnreachable("cut"))
    assert task.status is TaskStatus.PENDING
    assert said(attempts) == f"Retry: POST {URL}: cut"


async def test_a_closed_target_is_not_tried_again(scheduler_in_memory: Scheduler):
    task, attempts, _ = await run(scheduler_in_memory, TargetRefused("private"))
    assert task.status is TaskStatus.FAILED
    assert said(attempts) == f"Discard: POST {URL}: private"


async def test_secrets_are_not_shown(
    scheduler_in_memory: Scheduler, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer s3cr3t-1", "X-Api-Key": "s3cr3t-2", "X-Shop": "north"}
    echo = b"you sent Bearer s3cr3t-1, s3cr3t-1, s3cr3t-2, north"
    url = URL + "?token=s3cr3t-3#s3cr3t-4"
    task, attempts, _ = await run(
        scheduler_in_memory, answer(400, echo), SECRET, url=url, headers=headers
    )
    assert task.status is TaskStatus.FAILED
    assert said(attempts).endswith("you sent [redacted], [redacted], [redacted], [redacted]")
    assert "s3cr3t" not in said(attempts) + caplog.text
    assert SECRET not in caplog.text
    target = msgspec.json.decode(
        msgspec.json.encode({"url": url, "headers": headers}), type=HttpTarget
    )
    assert repr(target) == f"HttpTarget(POST {URL})"
    assert shown("http://me:s3cr3t@host/p") == "http://host/p"


CANARY = 'Kan4"ri/ Vog+el'


@pytest.mark.parametrize(
    "echo",
    [
        str,
        quote,
        quote_plus,
        partial(quote, safe=""),
        json.dumps,
    ],
)
@pytest.mark.parametrize("failure", [None, TargetRefused, TargetUnreachable])
async def test_an_echoing_target_tells_nothing(
    scheduler_in_memory: Scheduler, caplog: pytest.LogCaptureFixture, echo: Any, failure: Any
):
    caplog.set_level(logging.DEBUG)
    basic = base64.b64encode(f"me:{CANARY}".encode()).decode()
    headers = {"X-Shop": CANARY, "Authorization": f"Basic {basic}", "X-Other": f"Bearer {CANARY}"}
    url = f"{URL}?key={quote(CANARY, safe='')}&other={quote_plus(CANARY)}"
    echoed = f"{echo(CANARY)} {echo(url)} {basic} {echo('Bearer ' + CANARY)}"
    outcome = answer(500, echoed.encode()) if failure is None else failure(echoed)
    _, attempts, _ = await run(scheduler_in_memory, outcome, url=url, headers=headers)
    for secret in (CANARY, quote(CANARY), quote_plus(CANARY), quote(CANARY, safe=""), basic, "Vog"):
        assert secret not in said(attempts) + caplog.text


@pytest.mark.parametrize("value", ["Bearer abcdef ", " Bearer abcdef", "\tBearer abcdef\t "])
async def test_spaces_around_a_value_are_no_part_of_it(scheduler_in_memory: Scheduler, value: str):
    headers = {"Authorization": value}
    task, _, caller = await run(scheduler_in_memory, answer(204), headers=headers)
    assert task.status is TaskStatus.COMPLETED
    assert caller.calls[0].headers == {"Authorization": "Bearer abcdef"}


@pytest.mark.parametrize("url", ["http://me:pa/ss@host/p", "http://me:p[a@ss@host", "http://[::1"])
def test_of_a_url_that_cannot_be_read_nothing_is_shown(url: str):
    assert shown(url) == "http://…"


async def test_an_excerpt_is_short_and_printable(scheduler_in_memory: Scheduler):
    body = b"<html>\n\n  \xff\0" + b"x" * 10_000
    _, attempts, _ = await run(scheduler_in_memory, answer(500, body))
    assert len(said(attempts)) < 1_200
    assert said(attempts).endswith("x…")


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"url": ""}, r"\$\.url"),
        ({"method": "TRACE"}, "TRACE"),
        ({"method": "get"}, "get"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 3601}, "timeout_s"),
        ({"redirects": 11}, "redirects"),
        ({"expected": []}, "expected"),
        *(({"expected": [each]}, "expected") for each in ("x", 600, 99, "6xx", "200-", "299-200")),
        *(
            ({"headers": {name: "x"}}, name)
            for name in ("Host", "Content-Length", "TE", "webhook-id")
        ),
        *(({"headers": {name: "x"}}, name) for name in ("Idempotency-Key", "Proxy-Authorization")),
        *(({"headers": {name: "x"}}, "not a header's name") for name in ("", "a b", "a:b", "é")),
        *(({"headers": {"a": v}}, "value of 'a'") for v in ("x\r\nb: c", "x\0", "é", "x" * 8193)),
        ({"more": 1}, "more"),
    ],
)
async def test_a_payload_that_cannot_be_sent_fails_at_once(
    scheduler_in_memory: Scheduler, wrong: dict[str, Any], names: str
):
    task, attempts, caller = await run(scheduler_in_memory, answer(200), **wrong)
    assert task.status is TaskStatus.FAILED
    assert said(attempts).startswith("InvalidPayload")
    assert re.search(names, said(attempts))
    assert not caller.calls
