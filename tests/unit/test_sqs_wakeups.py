"""A hint that does not concern its reader is put back for the others, but not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from taskscheduler.adapters.sqs import SqsWakeUps

pytestmark = pytest.mark.anyio


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
