"""What ``ApiKeyRepository`` promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from taskscheduler.domain.access import Caller, NewKey, Scope, digest_of
from taskscheduler.domain.audit import Action, AuditQuery
from taskscheduler.domain.errors import KeyNotFound
from taskscheduler.domain.quota import Quota
from taskscheduler.testing.contracts.steps import TICK, Contract

if TYPE_CHECKING:
    from taskscheduler.application.store import Store
    from taskscheduler.testing.clock import ManualClock

ADA: Final = Caller(name="ada")
HOUR: Final = timedelta(hours=1)
PLAIN: Final = NewKey(id="00" * 8, name="shop", digest=digest_of("s1"))
TENANT: Final = NewKey(
    id="a1" * 8,
    name="Zoë's shop, no. 2",
    digest=digest_of("s2"),
    scope=Scope.WRITE,
    queue_prefix="shop.",
    expires=HOUR,
    quota=Quota(queues=3, waiting=0, waiting_bytes=2**40, schedules=1),
)


async def active(store: Store) -> dict[str, timedelta | None]:
    """Return for how long each active key lives, by its id."""
    found = await store.keys.active()
    assert all(each.key.revoked_at is None for each in found)
    return {each.key.id: each.expires_in for each in found}


class ApiKeyRepositoryContract(Contract):
    """A key opens from when it is added until it expires or is revoked."""

    async def test_a_key_is_kept_as_it_was_given(self, store: Store, clock: ManualClock) -> None:
        """With the store's time, from which a span counts."""
        kept = await store.keys.add(PLAIN)
        assert (kept.id, kept.name, kept.digest) == (PLAIN.id, PLAIN.name, PLAIN.digest)
        assert (kept.scope, kept.queue_prefix) == (Scope.READ, None)
        assert (kept.created_at, kept.expires_at) == (clock.now(), None)
        assert kept.revoked_at is None
        assert kept.is_opened_by(digest_of("s1"))
        assert not kept.is_opened_by(digest_of("s2"))
        clock.advance(seconds=1)
        other = await store.keys.add(TENANT)
        assert (other.name, other.scope) == (TENANT.name, Scope.WRITE)
        assert (other.queue_prefix, other.expires_at) == ("shop.", clock.now() + HOUR)
        assert (other.quota, kept.quota) == (TENANT.quota, None)
        assert list(await store.keys.list()) == [other, kept]
        found = {each.key.id: each.key for each in await store.keys.active()}
        assert found == {kept.id: kept, other.id: other}

    async def test_adding_the_same_again_changes_nothing(
        self, store: Store, clock: ManualClock
    ) -> None:
        """So a lost answer may be asked for again; a revoked key stays revoked."""
        kept = await store.keys.add(TENANT)
        clock.advance(seconds=1)
        assert await store.keys.add(TENANT) == kept
        revoked = await store.keys.revoke(TENANT.id)
        assert await store.keys.add(TENANT) == revoked
        assert await active(store) == {}

    async def test_another_quota_holds_from_then_on(self, store: Store) -> None:
        """Or none; all else of the key stays, and one that is revoked stays revoked."""
        kept = await store.keys.add(TENANT)
        for quota in (Quota(queues=7, waiting_bytes=1), None, Quota(waiting=0), Quota(waiting=0)):
            changed = await store.keys.limit(TENANT.id, quota, by=ADA)
            assert changed == replace(kept, quota=quota)
            assert list(await store.keys.list()) == [changed]
            assert [each.key for each in await store.keys.active()] == [changed]
        told = [each.action for each in await store.audit.list(AuditQuery())]
        assert told == [Action.KEY_CHANGED] * 3  # the last changed nothing
        await store.keys.revoke(TENANT.id)
        assert (await store.keys.limit(TENANT.id, None)).revoked_at is not None
        with pytest.raises(KeyNotFound):
            await store.keys.limit(PLAIN.id, Quota(queues=1))

    async def test_a_key_lives_until_it_expires(self, store: Store, clock: ManualClock) -> None:
        """On the store's clock, and it says for how long."""
        at = clock.now() + HOUR
        await store.keys.add(replace(PLAIN, expires=at))
        await store.keys.add(TENANT)
        assert await active(store) == {PLAIN.id: HOUR, TENANT.id: HOUR}
        clock.advance(HOUR - TICK)
        assert await active(store) == {PLAIN.id: TICK, TENANT.id: TICK}
        clock.advance(TICK)
        assert await active(store) == {}
        assert {key.expires_at for key in await store.keys.list()} == {at}

    async def test_a_key_that_never_expires(self, store: Store, clock: ManualClock) -> None:
        """Lives on."""
        await store.keys.add(PLAIN)
        clock.advance(days=10_000)
        assert await active(store) == {PLAIN.id: None}

    async def test_a_time_in_the_past_is_a_key_that_never_opens(
        self, store: Store, clock: ManualClock
    ) -> None:
        """It is listed all the same."""
        await store.keys.add(replace(PLAIN, expires=clock.now() - HOUR))
        assert await active(store) == {}
        assert [key.id for key in await store.keys.list()] == [PLAIN.id]

    async def test_a_revoked_key_stays_so(self, store: Store, clock: ManualClock) -> None:
        """Its time is the first revocation's; the others live on."""
        await store.keys.add(PLAIN)
        await store.keys.add(TENANT)
        clock.advance(seconds=1)
        revoked = await store.keys.revoke(PLAIN.id)
        assert (revoked.id, revoked.revoked_at) == (PLAIN.id, clock.now())
        clock.advance(seconds=1)
        assert await store.keys.revoke(PLAIN.id) == revoked
        assert set(await active(store)) == {TENANT.id}
        assert revoked in await store.keys.list()

    @pytest.mark.parametrize("key_id", ["ff" * 8, "", "shop", "' OR true --", "\x7f%s{schema}"])
    async def test_a_key_that_is_not_there_is_not_found(self, store: Store, key_id: str) -> None:
        """Whatever its name looks like; nothing else is revoked for it."""
        await store.keys.add(PLAIN)
        with pytest.raises(KeyNotFound) as refused:
            await store.keys.revoke(key_id)
        assert refused.value.key_id == key_id
        assert set(await active(store)) == {PLAIN.id}

    async def test_many_at_once(self, store: Store) -> None:
        """Of the same id one is kept, whoever comes first."""
        same = [store.keys.add(replace(PLAIN, name=f"n{n}")) for n in range(6)]
        kept = await asyncio.gather(*same)
        assert len({key.name for key in kept}) == 1
        assert list(await store.keys.list()) == [kept[0]]
