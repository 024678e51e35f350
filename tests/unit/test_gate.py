"""Whose token it is: what is asked of the store, and how often."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler.application.client import api_keys
from taskscheduler.application.client.api_keys import (
    PAUSE_S,
    RENEW_AFTER_S,
    STALE_AFTER_S,
    KeyAuthenticator,
    issue,
)
from taskscheduler.domain.access import TOKEN, Scope, digest_of
from taskscheduler.domain.errors import InvalidKey, StoreUnavailable
from taskscheduler.testing import ManualClock, in_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import ActiveKey, ApiKey, Caller, NewKey
    from taskscheduler.domain.quota import Quota

pytestmark = pytest.mark.anyio

UNKNOWN = "tsk_" + "0" * 16 + "_" + "0" * 64


class CountingRing:
    """The api_keys of a store; notes when it was asked, and may be away."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self._store = store
        self._clock = clock
        self.asked_at: list[float] = []
        self.away = False

    async def add(self, key: NewKey, *, by: Caller | None = None) -> ApiKey:
        return await self._store.keys.add(key, by=by)

    async def revoke(self, key_id: str, *, by: Caller | None = None) -> ApiKey:
        return await self._store.keys.revoke(key_id, by=by)

    async def list(self) -> Sequence[ApiKey]:
        return await self._store.keys.list()

    async def limit(self, key_id: str, quota: Quota | None, *, by: Caller | None = None) -> ApiKey:
        return await self._store.keys.limit(key_id, quota, by=by)

    async def active(self) -> Sequence[ActiveKey]:
        self.asked_at.append(self._clock.monotonic())
        await asyncio.sleep(0)
        if self.away:
            message = "away"
            raise StoreUnavailable(message)
        return await self._store.keys.active()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def ring(clock: ManualClock):
    return CountingRing(in_memory(clock).store, clock)


@pytest.fixture
def gate(ring: CountingRing, clock: ManualClock):
    async def sleep(seconds: float) -> None:
        clock.advance(seconds=seconds)

    return KeyAuthenticator(ring, clock, sleep=sleep)


async def opened(gate: KeyAuthenticator, token: str) -> ApiKey:
    key = await gate.identify(token)
    assert key is not None
    return key


async def turns(count: int = 10):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_known_key_costs_the_store_one_question(
    gate: KeyAuthenticator, ring: CountingRing, clock: ManualClock
):
    issued = issue("shop", scope=Scope.WRITE, queue_prefix="shop.")
    await ring.add(issued.key)
    for _ in range(100):
        key = await opened(gate, issued.token)
        assert (key.id, key.name, key.scope) == (issued.key.id, "shop", Scope.WRITE)
    assert ring.asked_at == [0.0]


async def test_nobody_with_a_known_key_waits_for_two_readings(
    gate: KeyAuthenticator, ring: CountingRing, clock: ManualClock
):
    issued = issue("shop")
    await ring.add(issued.key)
    assert await gate.identify(issued.token)
    clock.advance(seconds=STALE_AFTER_S)
    first = asyncio.create_task(opened(gate, issued.token))
    await turns(2)
    assert len(ring.asked_at) == 2
    second = asyncio.create_task(opened(gate, issued.token))
    assert (await first).id == (await second).id == issued.key.id
    assert len(ring.asked_at) == 2


async def test_of_many_at_once_one_asks(gate: KeyAuthenticator, ring: CountingRing):
    issued = issue("shop")
    await ring.add(issued.key)
    found = await asyncio.gather(*(opened(gate, issued.token) for _ in range(50)))
    assert {key.id for key in found} == {issued.key.id}
    assert len(ring.asked_at) == 1


async def test_a_new_key_opens_at_once(gate: KeyAuthenticator, ring: CountingRing):
    assert await gate.identify(UNKNOWN) is None
    for number in range(3):
        issued = issue(f"key {number}")
        await ring.add(issued.key)
        assert (await opened(gate, issued.token)).id == issued.key.id


async def test_what_does_not_open_asks_the_store_no_oftener_than_said(
    gate: KeyAuthenticator, ring: CountingRing, clock: ManualClock
):
    known = issue("shop")
    await ring.add(known.key)
    for _ in range(20):
        wrong = known.token[:-64] + secrets.token_hex(32)
        assert await gate.identify(wrong) is None
        tried = (gate.identify(issue("x").token) for _ in range(30))
        assert set(await asyncio.gather(*tried)) == {None}
    gaps = [b - a for a, b in zip(ring.asked_at, ring.asked_at[1:], strict=False)]
    assert gaps
    assert min(gaps) >= PAUSE_S


async def test_an_unknown_key_and_a_wrong_secret_take_the_same_way(
    gate: KeyAuthenticator, ring: CountingRing, monkeypatch: pytest.MonkeyPatch
):
    known = issue("shop")
    await ring.add(known.key)
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(api_keys.secrets, "compare_digest", compare)
    assert await gate.identify(known.token)
    for token in (UNKNOWN, known.token[:-64] + "0" * 64):
        compared.clear()
        asked = len(ring.asked_at)
        assert await gate.identify(token) is None
        assert compared == [digest_of("0" * 64)] * 2
        assert len(ring.asked_at) == asked + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tsk_",
        "x" * 100_000,
        UNKNOWN.upper(),
        UNKNOWN + "0",
        UNKNOWN[:-1],
        UNKNOWN + "\n",
        "\u0660" * 85,
        "tsk_" + "g" * 16 + "_" + "0" * 64,
    ],
)
async def test_what_is_no_token_is_refused_without_a_question(
    gate: KeyAuthenticator, ring: CountingRing, text: str
):
    assert await gate.identify(text) is None
    assert ring.asked_at == []


async def test_a_revoked_key_opens_no_longer_than_said(
    gate: KeyAuthenticator, ring: CountingRing, clock: ManualClock
):
    issued = issue("shop")
    await ring.add(issued.key)
    assert await gate.identify(issued.token)
    await ring.revoke(issued.key.id)
    assert await gate.identify(issued.token), "what was read is believed for a while"
    clock.advance(seconds=STALE_AFTER_S)
    assert await gate.identify(issued.token) is None


async def test_in_use_a_revocation_is_noticed_in_the_background(
    gate: KeyAuthenticator, ring: CountingRing, clock: ManualClock
):
    issued = issue("shop")
    await ring.add(issued.key)
    assert await gate.identify(issued.token)
    await ring.revoke(issued.key.id)
    clock.advance(seconds=RENEW_AFTER_S)
    assert await gate.identify(issued.token), "nobody waits for the reading"
    await turns()
    assert await gate.identify(issued.token) is None


async def test_a_key_ends_when_it_expires_whenever_it_was_read(
    gate: KeyAuthenticator, ring: CountingRing, clock: ManualClock
):
    issued = issue("shop", expires=timedelta(seconds=0.5))
    await ring.add(issued.key)
    assert await gate.identify(issued.token)
    clock.advance(seconds=0.499)
    assert await gate.identify(issued.token)
    clock.advance(seconds=0.001)
    assert await gate.identify(issued.token) is None


async def test_while_the_store_is_away_what_was_read_holds_as_long_as_ever(
    gate: KeyAuthenticator, ring: CountingRing, clock: ManualClock
):
    issued = issue("shop")
    await ring.add(issued.key)
    assert await gate.identify(issued.token)
    ring.away = True
    clock.advance(seconds=STALE_AFTER_S - 0.1)
    assert await gate.identify(issued.token)
    await turns()
    clock.advance(seconds=0.1)
    with pytest.raises(StoreUnavailable):
        await gate.identify(issued.token)
    with pytest.raises(StoreUnavailable):
        await gate.identify(UNKNOWN)
    ring.away = False
    assert await gate.identify(issued.token)


async def test_who_gives_up_waiting_takes_nobody_with_him(
    gate: KeyAuthenticator, ring: CountingRing
):
    issued = issue("shop")
    await ring.add(issued.key)
    impatient = asyncio.create_task(opened(gate, issued.token))
    patient = asyncio.create_task(opened(gate, issued.token))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).id == issued.key.id
    assert impatient.cancelled() or impatient.cancelling()


def test_tokens_are_recognised_and_never_the_same():
    first, second = issue("a"), issue("a")
    form = TOKEN.fullmatch(first.token)
    assert form is not None
    assert form[1] == first.key.id
    assert first.key.digest == digest_of(form[2])
    assert first.key.id != second.key.id
    assert first.token != second.token
    assert form[2] not in repr(first.key)
    assert re.fullmatch(r"tsk_\w+", first.token), "one word, so that it is copied whole"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "x" * 129}),
        ("name", {"name": "a\nb"}),
        ("queue_prefix", {"queue_prefix": ""}),
        ("queue_prefix", {"queue_prefix": "a/b"}),
        ("queue_prefix", {"queue_prefix": "x" * 65}),
        ("expires", {"expires": timedelta(0)}),
        ("expires", {"expires": timedelta(days=40_000)}),
    ],
)
def test_what_cannot_be_a_key_is_refused(field: str, fields: dict[str, Any]):
    with pytest.raises(InvalidKey) as refused:
        issue(fields.pop("name", "shop"), **fields)
    assert refused.value.field == field


def test_each_scope_contains_those_before_it():
    reach = [[a.reaches(b) for b in Scope] for a in Scope]
    assert reach == [[True, False, False], [True, True, False], [True, True, True]]
