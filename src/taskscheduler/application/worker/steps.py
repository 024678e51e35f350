"""The steps of a handler: what one has come to is kept, and not computed again later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.client.payloads import encode
from taskscheduler.domain.errors import InvalidStep, InvalidTask, StoreUnavailable
from taskscheduler.domain.notes import STEP_NAME_CHARACTERS_MAX, STEPS_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.ports.results import Notes


class Steps:
    """The steps of one attempt. They are asked for once, when the first is come to."""

    def __init__(self, notes: Notes, lease: Lease) -> None:
        """Keep them in ``notes``, as long as ``lease`` holds."""
        self._notes = notes
        self._lease = lease
        self._names: set[str] = set()
        self._loading: asyncio.Future[Mapping[str, bytes]] | None = None
        self._bytes = 0

    async def begin(self, name: str) -> tuple[bool, Any]:
        """Return whether an earlier attempt came past this step, and what it came to.

        Raises:
            InvalidStep: this attempt has a step of the name already, or it cannot be a name.
        """
        if not isinstance(name, str) or not (  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is checked
            1 <= len(name) <= STEP_NAME_CHARACTERS_MAX and name.isprintable()
        ):
            reason = f"must be named by 1 to {STEP_NAME_CHARACTERS_MAX} printable characters"
            raise InvalidStep(str(name), reason)
        if name in self._names:
            raise InvalidStep(name, "is there twice in one attempt: give each a name of its own")
        self._names.add(name)
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._notes.steps(self._lease.task_id))
        kept = await asyncio.shield(self._loading)
        if not self._bytes:
            self._bytes = sum(map(len, kept.values()))
        return (True, msgspec.json.decode(kept[name])) if name in kept else (False, None)

    async def keep(self, name: str, value: object) -> Any:
        """Keep what a step came to and return it, as later attempts will have it: as from JSON.

        While the store is away it is tried again: to come to it once more might do harm.

        Raises:
            InvalidStep: it has no JSON form, or there is no room for it.
            LeaseLost: the lease no longer holds; nothing was kept.
        """
        try:
            text = encode(value)
        except InvalidTask as error:
            raise InvalidStep(name, error.reason) from error
        if self._bytes + len(text) > STEPS_BYTES_MAX:
            reason = (
                f"is {len(text)} bytes of JSON, which with the {self._bytes} of the steps before "
                f"is more than the {STEPS_BYTES_MAX} that a task may keep"
            )
            raise InvalidStep(name, reason)
        self._bytes += len(text)
        backoff = Backoff()
        while True:
            try:
                await self._notes.keep_step(self._lease, name, text)
            except StoreUnavailable:
                await backoff.sleep()
            else:
                return msgspec.json.decode(text)
