"""No secret leaves by any exit: a canary is put everywhere, and must be seen nowhere."""

from __future__ import annotations

import io
import json
import logging

import psycopg
import pytest

from taskscheduler.adapters.postgres.connection_errors import Refusals, told
from taskscheduler.adapters.postgres.database import conninfo
from taskscheduler.application.worker.attempt import describe, said
from taskscheduler.domain import redaction
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.redaction import learn, learn_url, redacted
from taskscheduler.entrypoints.cli import fail
from taskscheduler.entrypoints.cli._runtime import say
from taskscheduler.entrypoints.logs import configure_logs
from taskscheduler.entrypoints.settings import LogFormat, LogLevel

CANARY = "Kanari5Vogel"


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn nothing for other tests."""
    monkeypatch.setattr(redaction, "_learned", set[str]())
    monkeypatch.setattr(redaction, "_learned_pattern", None)


LEAKS = [
    f"postgresql://u:{CANARY}@h/db",
    f"postgresql:/u:{CANARY}@h/db",
    f"postgres//u:{CANARY}@h/db",
    f"postgres://u:p@{CANARY}/x@h",
    f'missing "=" after "postgresql:u:{CANARY}@h/db" in connection info string',
    f"postgresql+psycopg://u:{CANARY}@h",
    f"amqp://u:{CANARY}@h/",
    f"https://u:{CANARY}@h/p",
    f"host=x password={CANARY} user=y",
    f"host=x password='{CANARY} more' user=y",
    f"password='it\\'s{CANARY}' x",
    f'password="{CANARY}',
    f'{{"password": "{CANARY}"}}',
    f"{{'db_password': '{CANARY}'}}",
    f'{{\\"password\\": \\"{CANARY}\\"}}',
    f"Authorization: Bearer {CANARY}",
    f"('Authorization', 'Bearer {CANARY}')",
    f"(b'authorization', b'Bearer {CANARY}')",
    f"Illegal header value b'Bearer {CANARY} '",
    f"authorization: {CANARY} ",
    f"Cookie: a={CANARY}; b={CANARY}",
    f"X-Api-Key: {CANARY}",
    f"api_key={CANARY}",
    f"?access_token={CANARY}&x=1",
    f"AWS_SECRET_ACCESS_KEY={CANARY}",
    f"export PGPASSWORD={CANARY}",
    f"os.environ['PGPASSWORD'] = '{CANARY}'",
    f"whsec_{CANARY}",
    f"eyJhbGciOi.{CANARY}.sig",
    f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("text", LEAKS)
def test_a_secret_is_known_by_its_form_or_its_name(text: str):
    assert CANARY not in redacted(text)
    assert "[redacted]" in redacted(text)
    assert CANARY not in redacted(f"before {text} after\nand {text}")


def test_our_own_tokens_keep_the_part_that_is_no_secret():
    assert redacted(f"tsk_0123456789abcdef_{'a' * 64}") == "tsk_0123456789abcdef_[redacted]"


@pytest.mark.parametrize(
    "text",
    [
        "task 018f: process_at is 2024-03-30T23:17:10Z",
        "the key is unknown, expired or revoked",
        "KeyError: 'token'",
        "https://example.org:8080/path?q=1#a@b",
        "invalid token at line 3",
        "connection to server at 10.0.0.1, port 5432 failed",
        "answered 201",
    ],
)
def test_other_text_stays_as_it_is(text: str):
    assert redacted(text) == text


@pytest.mark.parametrize(
    "part",
    [
        *("password=", "://", "postgres:/", '"', "\\", 'password\\"', "eyJaaaaaa.", "Bearer ", "a"),
        *("-----BEGIN PRIVATE KEY-----", "password : ", "a://", "secret-", "password='\\", "@"),
        *('cookie: \\"\\', "postgres://a@", " ", "tsk_", "passwordpassword "),
    ],
)
def test_no_text_holds_it_up(part: str):
    redacted((part * 200_000)[:200_000])


def test_what_it_was_told_is_a_secret_in_whatever_surroundings():
    learn(CANARY)
    assert redacted(f"it is {CANARY}, is it?") == "it is [redacted], is it?"
    learn("short")
    assert redacted("a short text") == "a short text"


@pytest.mark.parametrize(
    ("url", "said_of_it"),
    [
        (f"postgresql://u:{CANARY}@h/db", f"it is {CANARY}"),
        (f"postgresql://u:x%40{CANARY}@h/db", f"it is x@{CANARY}"),
        (f"postgresql://u:pa/{CANARY}@h/db", f'invalid port number: "{CANARY}"'),
        (f"postgresql://u:pa@{CANARY}@h/db", f'could not translate host name "{CANARY}@h"'),
        (f"host=h password={CANARY}", f"FATAL: {CANARY}"),
        (f"host=h password = '{CANARY} x'", f"FATAL: {CANARY} x"),
        (f"postgresql:u:{CANARY}@h", f'"{CANARY}@h"'),
    ],
)
def test_parts_of_a_url_are_secrets_too(url: str, said_of_it: str):
    learn_url(url)
    assert CANARY not in redacted(said_of_it)


# The exits.


def test_attempts_keep_no_secret():
    url = f"postgresql://u:{CANARY}@h/db"

    def connect() -> None:
        message = f"cannot connect to {url}"
        raise OSError(message) from ValueError(url)

    with pytest.raises(OSError, match="cannot connect") as caught:
        connect()
    kept = describe(caught.value)
    assert CANARY not in repr(kept)
    assert "cannot connect to postgresql://[redacted]@h/db" in kept.message
    assert CANARY not in repr(said("Retry", url))


@pytest.mark.parametrize("before", range(0, 4_000, 97))
def test_a_secret_is_gone_before_the_text_is_cut(before: int):
    error = ValueError("x" * before + f" postgresql://u:{CANARY * 30}@h/db " + "y" * 20_000)
    assert CANARY not in repr(describe(error))


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.TEXT])
def test_logs_hold_no_secret(form: LogFormat, monkeypatch: pytest.MonkeyPatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    before = logging.root.handlers[:], logging.root.level
    try:
        configure_logs(LogLevel.DEBUG, form)
        log = logging.getLogger("taskscheduler.test")
        url = f"postgresql://u:{CANARY}@h/db"
        log.info("connecting to %s", url)
        log.info("facts", extra={"url": url, "nested": {"deep": [url]}, "error": ValueError(url)})
        log.info(f"password={CANARY}")  # noqa: G004 - as others write
        try:
            raise ValueError(url)  # noqa: TRY301 - it is to have a traceback
        except ValueError:
            log.exception("failed")
    finally:
        logging.root.handlers[:], level = before
        logging.root.setLevel(level)
    written = out.getvalue()
    assert written.count("[redacted]") >= 6
    assert CANARY not in written


def test_the_command_line_shows_no_secret(capsys: pytest.CaptureFixture[str]):
    assert fail(f"cannot connect to postgresql://u:{CANARY}@h", 2) == 2
    assert CANARY not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql:/u:{CANARY}@h/db",
        f"u:{CANARY}@h/db",
        f"{CANARY}",
        f"postgresql://u:{CANARY}%zz@h/db",
        f"postgresql://u:x@h/db?nonsense={CANARY}",
        f"host=h password={CANARY} nonsense=x",
        f"host=h password='{CANARY}",
        f"host=h {CANARY}",
        f"postgresql://u@[{CANARY}/db",
    ],
)
def test_a_malformed_database_url_is_not_repeated(url: str):
    with pytest.raises(InvalidConfiguration, match="the database URL is not understood") as caught:
        conninfo(url)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "said_of_it",
    [
        f'connection failed: could not translate host name "{CANARY}@h" to address',
        f'connection is bad: invalid port number: "{CANARY}"',
        f"failed to resolve host '{CANARY}@h': unknown",
        f"terminating connection of postgresql://u:{CANARY}@h/db",
    ],
)
def test_a_refused_connection_is_told_without_the_password(said_of_it: str):
    learn_url(f"postgresql://u:pa@{CANARY}@h/db")
    error = told(psycopg.OperationalError(said_of_it))
    assert CANARY not in str(error)
    assert "[redacted]" in str(error)


def test_a_host_that_does_not_answer_is_told_without_the_password():
    refusals = Refusals(f"host={CANARY}@h password=pa")
    refusals.trying = 1
    learn(CANARY)
    assert str(refusals.told()) == (
        "the database cannot be reached: [redacted]@h, port 5432, does not answer"
    )


def test_json_for_machines_is_the_same_value(capsys: pytest.CaptureFixture[str]):
    value = {"text": "\x9b31m\u202e\r\n\x1b[0m \U000e0041 ü"}
    say(value, as_json=True, text="")
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert not {"\x9b", "\u202e", "\x1b", "\r", "\U000e0041"} & set(printed)
