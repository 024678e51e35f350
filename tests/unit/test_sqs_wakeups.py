"""A hint that does not concern its reader is put back for the others, but not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from taskscheduler.adapters.sqs import SqsWakeUps
from taskscheduler.adapters.sqs.wakeups import endpoint_of
from taskscheduler.domain.errors import InvalidConfiguration

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("queue_url", "endpoint"),
    [
        ("https://sqs.eu-central-1.amazonaws.com/1/q", None),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", None),
        (
            "https://vpce-1.sqs.eu-central-1.vpce.amazonaws.com/1/q",
            "https://vpce-1.sqs.eu-central-1.vpce.amazonaws.com",
        ),
        ("https://eu-west-1.queue.amazonaws.com/1/q", "https://eu-west-1.queue.amazonaws.com"),
        ("http://127.0.0.1:4566/1/q", "http://127.0.0.1:4566"),
    ],
)
def test_the_url_of_a_queue_tells_where_its_service_is(queue_url: str, endpoint: str | None):
    assert endpoint_of(queue_url) == endpoint


@pytest.mark.parametrize("url", ["", "https://", "https://h", "https://h/", "ftp://h/q", "//h/q"])
def test_what_is_no_queue_is_refused(url: str):
    with pytest.raises(InvalidConfiguration, match="the URL of an SQS queue"):
        SqsWakeUps(url)


class Recording:
    """Stands for SQS, and notes what is done with a message."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(**values: Any) -> dict[str, Any]:
            assert values["ReceiptHandle"] == "r"
            self.done.append(name)
            return {}

        return call


@pytest.mark.parametrize(
    ("heard", "times", "done"),
    [
        (True, 1, "delete_message"),
        (False, 1, "change_message_visibility"),
        (False, 2, "change_message_visibility"),
        (False, 3, "delete_message"),
    ],
)
async def test_what_becomes_of_a_hint(*, heard: bool, times: int, done: str) -> None:
    client: Any = Recording()
    message = {"ReceiptHandle": "r", "Attributes": {"ApproximateReceiveCount": str(times)}}
    await SqsWakeUps("https://sqs.example/1/q")._put_away(client, message, heard=heard)  # pyright: ignore[reportPrivateUsage]
    assert client.done == [done]
