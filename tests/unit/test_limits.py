"""Limits and turns, by themselves."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskscheduler import InvalidLimit, Limit, LimitChanged, LimitNotFound
from taskscheduler.domain.limit import MOST, Rate, after, granted, opens_at
from taskscheduler.domain.turns import Turns
from taskscheduler.testing import ManualClock, in_memory

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("name", {"name": "a b", "concurrency": 1}),
        ("name", {"name": "..", "concurrency": 1}),
        ("name", {"name": "", "concurrency": 1}),
        ("queue", {"queue": "a b", "concurrency": 1}),
        ("kind", {"kind": "", "concurrency": 1}),
        ("group", {"group": "", "concurrency": 1}),
        ("group", {"group": "x\n", "concurrency": 1}),
        ("per_group", {"group": "a", "per_group": True, "concurrency": 1}),
        ("per_group", {"per_group": 1, "concurrency": 1}),
        ("concurrency", {}),
        ("concurrency", {"queue": "mail"}),
        ("concurrency", {"concurrency": 0}),
        ("concurrency", {"concurrency": -1}),
        ("concurrency", {"concurrency": True}),
        ("concurrency", {"concurrency": MOST + 1}),
        ("rate", {"rate": "10"}),
        ("rate", {"rate": "0/s"}),
        ("rate", {"rate": "1.5/s"}),
        ("rate", {"rate": "10/w"}),
        ("rate", {"rate": "10/s "}),
        ("rate", {"rate": "1000001/s"}),
        ("rate", {"rate": 10}),
        ("burst", {"burst": 3, "concurrency": 1}),
        ("burst", {"burst": 0, "rate": "1/s"}),
        ("weight", {"weight": 0}),
        ("weight", {"weight": 101}),
    ],
)
def test_what_is_no_limit(field: str, fields: dict[str, Any]) -> None:
    values: dict[str, Any] = {"name": "mail", **fields}
    with pytest.raises(InvalidLimit) as refused:
        Limit(**values)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("text", "burst"),
    [("1/s", 1), ("10/s", 1), ("11/s", 2), ("100/s", 10), ("600/m", 1), ("9/d", 1)],
)
def test_a_rate_and_what_it_lets_begin_at_once(text: str, burst: int) -> None:
    assert str(Rate.parse(text)) == text
    assert Limit(name="l", rate=text).at_once == burst
    assert Limit(name="l", rate=text, burst=7).at_once == 7


def test_in_no_window_more_than_the_burst_and_the_rate() -> None:
    """Whenever somebody asks, and however many are there."""
    chance = random.Random(7)
    limit = Limit(name="l", rate="7/s", burst=4)
    now, free_at = START, None
    starts: list[datetime] = []
    for _ in range(2_000):
        now += timedelta(microseconds=chance.randrange(400_000))
        number = min(granted(limit, free_at=free_at, now=now), chance.randrange(6))
        free_at = after(limit, number, free_at=free_at, now=now) if number else free_at
        starts += [now] * number
        opens = opens_at(limit, free_at=free_at, now=now)
        assert (granted(limit, free_at=free_at, now=now) == 0) == (opens is not None)
        if opens is not None:
            assert granted(limit, free_at=free_at, now=opens) == 1
    for first in range(0, len(starts), 13):
        for last in range(first, min(first + 200, len(starts))):
            window_s = (starts[last] - starts[first]).total_seconds()
            assert last - first + 1 <= 4 + 7 * window_s + 0.000_01
    # And nothing is lost: whoever asks at the very moment has as many.
    assert len(starts) > 1_000


def test_shares_are_by_weight_and_do_not_swing() -> None:
    turns: Turns[str] = Turns()
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    got: Counter[str] = Counter()
    for number in range(1, 2_000):
        turns.go_on(weights)
        for flow, places in turns.share(weights, 3).items():
            turns.took(flow, places, weights[flow])
            got[flow] += places
        if number > 20:
            for flow, weight in weights.items():
                assert abs(got[flow] / (3 * number) - weight / 8) < 0.1 * weight / 8 + 2 / number


def test_who_comes_back_has_its_turn_and_no_more() -> None:
    turns: Turns[str] = Turns()
    for _ in range(1_000):
        turns.go_on({"a": 1.0})
        turns.took("a", 1, 1.0)
    both = {"a": 1.0, "b": 1.0}
    got: Counter[str] = Counter()
    for _ in range(100):
        turns.go_on(both)
        for flow, places in turns.share(both, 1).items():
            turns.took(flow, places, 1.0)
            got[flow] += places
    assert abs(got["a"] - got["b"]) <= 1


def test_nobody_waits_or_there_is_no_room() -> None:
    turns: Turns[str] = Turns()
    turns.go_on({})
    assert turns.share({}, 3) == {}
    assert turns.share({"a": 1.0}, 0) == {}


async def test_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_memory(ManualClock()) as scheduler:
        limits = scheduler.limits
        made, is_new = await limits.put(Limit(name="mail", queue="mail", concurrency=2))
        assert is_new
        assert made.use.running == made.use.waiting == 0
        edited = await limits.edit("mail", concurrency=None, rate="3/m")
        assert edited.definition == Limit(name="mail", queue="mail", rate="3/m")
        with pytest.raises(LimitChanged):
            await limits.edit("mail", expected=made.stored, weight=3)
        with pytest.raises(LimitChanged):
            await limits.delete("mail", expected=made.stored)
        with pytest.raises(TypeError, match="conurrency"):
            await limits.edit("mail", conurrency=1)
        with pytest.raises(InvalidLimit):
            await limits.edit("mail", rate=None)
        assert [each.name for each in await limits.list()] == ["mail"]
        await limits.delete("mail")
        with pytest.raises(LimitNotFound):
            await limits.get("mail")
        with pytest.raises(LimitNotFound):
            await limits.get("a b")
