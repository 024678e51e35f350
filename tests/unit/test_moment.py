"""Times are read in one way, whoever writes them; what is finer than is kept is rounded up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.moment import parse_moment
from taskscheduler.entrypoints.cli._runtime import moment_of
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.decoding import decoded, decoder
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.messages.tasks import NewTaskMessage

WHOLE = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DECODER = decoder(NewTaskMessage)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-01-02T03:04:05Z", WHOLE),
        ("2030-01-02t03:04:05z", WHOLE),
        ("2030-01-02 03:04:05+00:00", WHOLE),
        ("2030-01-02T03:04Z", WHOLE.replace(second=0)),
        ("2030-01-02T04:04:05+01:00", WHOLE),
        ("2030-01-02T04:04:05+0100", WHOLE),
        ("2030-01-01T17:34:05-09:30", WHOLE),
        ("2030-01-02T03:04:05.5Z", WHOLE + timedelta(milliseconds=500)),
        ("2030-01-02T03:04:05,123456Z", WHOLE + timedelta(microseconds=123_456)),
        ("2030-01-02T03:04:05.000000Z", WHOLE),
        ("2030-01-02T03:04:05.0000000000Z", WHOLE),
        ("2030-01-02T03:04:05.0000001Z", WHOLE + MICROSECOND),
        ("2030-01-02T03:04:05.00000000000000000000000000000001Z", WHOLE + MICROSECOND),
        ("2030-01-02T03:04:05.1234561Z", WHOLE + timedelta(microseconds=123_457)),
        ("2030-01-02T03:04:05.1234569Z", WHOLE + timedelta(microseconds=123_457)),
        ("2030-01-02T03:04:05.9999991Z", WHOLE + timedelta(seconds=1)),
        ("2030-12-31T23:59:59.9999999-01:00", datetime(2031, 1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_never_read_as_an_earlier_one(text: str, moment: datetime):
    """Alike in a body, in a query and on the command line."""
    assert parse_moment(text) == moment
    assert moment_of(text) == moment
    assert parameters.retry_time_of(text) == moment
    message = decoded(DECODER, b'{"kind": "a", "execute_at": "%s"}' % text.encode())
    assert message.execute_at == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "tomorrow",
        "2030-01-02",
        "2030-01-02T03:04:05",
        "2030-01-02T03:04:05.1234567",
        "2030-13-02T03:04:05Z",
        "2030-02-30T03:04:05Z",
        "2030-01-02T24:04:05Z",
        "2030-01-02T03:04:60Z",
        "2030-01-02T03:04:05+25:00",
        "2030-01-02T03:04.5Z",
        "2030-01-02T03:04:05.Z",
        "2030-01-02T03:04:05.5Z ",
        "2030-01-02T03:04:05.5Z\n",
        "٢٠٣٠-01-02T03:04:05Z",
        "9999-12-31T23:59:59.9999999Z",
        "20300102T030405Z",
        "1893553445",
    ],
)
def test_what_is_no_time_is_refused_alike_everywhere(text: str):
    """And said so in the same words."""
    with pytest.raises(ValueError, match="must") as refused:
        parse_moment(text)
    with pytest.raises(InvalidConfiguration) as said:
        moment_of(text)
    assert str(refused.value) in str(said.value)
    body = json.dumps({"kind": "a", "execute_at": text})
    with pytest.raises(BadRequest) as answered:
        decoded(DECODER, body.encode())
    assert (answered.value.path, answered.value.reason) == ("$.execute_at", str(refused.value))
    if text != "now":
        with pytest.raises(BadRequest) as answered:
            parameters.retry_time_of(text)
        assert answered.value.path == "at"


def test_a_plus_in_a_query_may_come_as_a_blank():
    """Who forgets to encode it means an offset all the same."""
    expected = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert parameters.retry_time_of("2030-01-02T03:04:05 02:00") == expected
