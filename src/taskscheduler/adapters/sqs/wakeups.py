"""Wake-ups over Amazon SQS: one queue that all workers share, read by long polling.

SQS gives a message to one reader, so a hint wakes one worker, not all: one idle worker starts at
once, and it claims as much as it has room for; what is left over, others find at their poll
interval. A reader whom a hint does not concern puts it back, twice at most: a hint must not go
round and round. Cancellations of running tasks are mostly heard by the wrong worker; the right one
learns of them with its next heartbeat.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError

from taskscheduler.application.wakeups.listener import listening
from taskscheduler.application.wakeups.notifier import WakeUpNotifier
from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping
    from contextlib import AbstractAsyncContextManager

    from taskscheduler.application.wakeups.listener import WakeUpListener
    from taskscheduler.domain.ports.wakeups import Hints

HINT_BYTES_MAX: Final = 64 * 1024
WAIT_S: Final = 20
"""For how long one request waits for hints; the longest that SQS allows."""
ANSWER_S: Final = 5.0
HANDED_ON_MAX: Final = 3
AWS_HOST: Final = re.compile(r"sqs\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")
FAILURES: Final = (BotoCoreError, ClientError, OSError, TimeoutError)


class Client(Protocol):
    """The calls of SQS that are used here, as the driver makes them."""

    async def send_message(self, **values: Any) -> Mapping[str, Any]:
        """Send one message."""
        ...

    async def receive_message(self, **values: Any) -> Mapping[str, Any]:
        """Wait for messages."""
        ...

    async def delete_message(self, **values: Any) -> Mapping[str, Any]:
        """Take a message off the queue for good."""
        ...

    async def change_message_visibility(self, **values: Any) -> Mapping[str, Any]:
        """Give a message back."""
        ...

    async def get_queue_attributes(self, **values: Any) -> Mapping[str, Any]:
        """Look at the queue."""
        ...


def endpoint_of(queue_url: str) -> str | None:
    """Return where the queue's service is; None where AWS's tools find that by the region.

    Raises:
        InvalidConfiguration: that is no queue's URL.
    """
    try:
        parts = urlsplit(queue_url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.path in {"", "/"}:
        message = "the URL of an SQS queue must be https://host/account/queue"
        raise InvalidConfiguration(message)
    if AWS_HOST.fullmatch(parts.hostname):
        return None
    return f"{parts.scheme}://{parts.netloc}"


class SqsWakeUps:
    """``WakeUps`` over SQS. Credentials and region come from where AWS's tools find them."""

    by: str = "sqs"

    def __init__(self, queue_url: str) -> None:
        """Use the queue at ``queue_url``, and ask there what is not asked of AWS itself.

        Raises:
            InvalidConfiguration: that is no queue's URL.
        """
        self._endpoint_url = endpoint_of(queue_url)
        self._queue_url = queue_url
        self._notifier = WakeUpNotifier(self._send, bytes_max=HINT_BYTES_MAX, failures=FAILURES)
        self._sending: Client | None = None
        self._closing: AbstractAsyncContextManager[Client] | None = None

    @property
    def hints(self) -> Hints:
        """See ``WakeUps.hints``."""
        return self._notifier.hints

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """See ``WakeUps.opened``."""
        try:
            yield
        finally:
            await self._notifier.finish()
            if self._closing is not None:
                await self._closing.__aexit__(None, None, None)
            self._sending = self._closing = None

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""
        self._notifier.ring(queues)

    def ring_cancellation(self) -> None:
        """See ``WakeUps.ring_cancellation``."""
        self._notifier.ring_cancellation()

    def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AbstractAsyncContextManager[WakeUpListener]:
        """See ``WakeUps.listen``."""
        return listening(queues, on_cancellation, self._hear, failures=FAILURES)

    def _client(self) -> AbstractAsyncContextManager[Client]:
        options: Any = {
            "endpoint_url": self._endpoint_url,
            "config": AioConfig(
                connect_timeout=ANSWER_S,
                read_timeout=WAIT_S + ANSWER_S,
                retries={"total_max_attempts": 1},  # we try again ourselves, and say so
            ),
        }
        made: Any = AioSession().create_client("sqs", **options)
        return cast("AbstractAsyncContextManager[Client]", made)

    async def _send(self, hint: str) -> None:
        async with asyncio.timeout(ANSWER_S):
            if self._sending is None:
                self._closing = self._client()
                self._sending = await self._closing.__aenter__()
            await self._sending.send_message(QueueUrl=self._queue_url, MessageBody=hint)

    async def _hear(self, listener: WakeUpListener, on_hearing: Callable[[], None]) -> None:
        async with self._client() as client:
            await self._receive(client, listener, on_hearing)

    async def _receive(
        self, client: Client, listener: WakeUpListener, on_hearing: Callable[[], None]
    ) -> None:
        async with asyncio.timeout(ANSWER_S):
            await client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["QueueArn"])
        while True:
            on_hearing()
            async with asyncio.timeout(WAIT_S + ANSWER_S):
                answer = await client.receive_message(
                    QueueUrl=self._queue_url,
                    WaitTimeSeconds=WAIT_S,
                    MaxNumberOfMessages=10,
                    AttributeNames=["ApproximateReceiveCount"],
                )
            for message in answer.get("Messages", ()):
                heard = listener.hear_text(message["Body"])
                async with asyncio.timeout(ANSWER_S):
                    await self._put_away(client, message, heard=heard)

    async def _put_away(self, client: Client, message: Mapping[str, Any], *, heard: bool) -> None:
        which = {"QueueUrl": self._queue_url, "ReceiptHandle": message["ReceiptHandle"]}
        times = int(message.get("Attributes", {}).get("ApproximateReceiveCount", HANDED_ON_MAX))
        if heard or times >= HANDED_ON_MAX:
            await client.delete_message(**which)
        else:
            await client.change_message_visibility(**which, VisibilityTimeout=0)
