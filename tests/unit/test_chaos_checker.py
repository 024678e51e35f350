"""The judge of the chaos runs: it lets a good history pass and rejects every broken one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import Rules, Verdict, judge
from tests.chaos.history import History, read
from tests.chaos.scenarios.model import BROKEN, explore

Record = dict[str, Any]

LEASE_S = 2.0
COMPLETED, FAILED, CANCELLED = 2, 3, 4


class Story:
    """A history, told by hand: one task, ``a``, unless said otherwise."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def tell(self, event: str, at: float, pid: int = 1, **facts: Any) -> Story:
        self.records.append({"event": event, "at": at, "mono": at, "pid": pid, **facts})
        return self

    def asked(self, at: float = 0.0, task: str = "a", **facts: Any) -> Story:
        facts = {"kind": "steady", "execute_at": None, **facts}
        self.tell("scheduling", at, id=task, **facts)
        return self.tell("acknowledged", at, id=task)

    def started(self, at: float, token: int = 1, pid: int = 10, **facts: Any) -> Story:
        told: Record = {"id": "a", "attempt": 1, "max_attempts": 3, "process_at": 0.0, **facts}
        return self.tell("started", at, pid, token=token, worker_id=pid, **told)

    def finished(self, at: float, token: int = 1, pid: int = 10, task: str = "a") -> Story:
        return self.tell("finished", at, pid, id=task, token=token)

    def row(self, table: str, **facts: Any) -> Story:
        told: Record = {"id": "a", **facts}
        return self.tell("row", 1000.0, table=table, **told)

    def ended(
        self, at: float, token: int | None = 1, status: int = COMPLETED, **facts: Any
    ) -> Story:
        facts = {
            "process_at": 0.0,
            "started_at": 0.0,
            "attempt": 1,
            "max_attempts": 3,
            "worker_id": 10,
            **facts,
        }
        return self.row("finished", token=token, status=status, finished_at=at, **facts)

    def live(self, **facts: Any) -> Story:
        facts = {"token": None, "process_at": 0.0, "started_at": None, "attempt": 0, **facts}
        return self.row("live", **facts)

    def rescued(self, at: float, token: int = 1, worker_id: int = 10) -> Story:
        return self.row(
            "attempt",
            token=token,
            worker_id=worker_id,
            finished_at=at,
            outcome="rescue",
            error_type="WorkerLost",
        )

    def judged(self, **rules: Any) -> Verdict:
        return judge(
            sorted(self.records, key=lambda each: each["mono"]), Rules(lease_s=LEASE_S, **rules)
        )


def plain() -> Story:
    """Tell of a task that was asked for, run and completed."""
    return Story().asked(0.0).started(1.0).finished(1.5).ended(1.6)


def handed_over() -> Story:
    """Tell of a worker that was killed, and of another that did its task."""
    story = Story().asked(0.0).tell("joined", 0.1, victim=10, since=0.0)
    story.tell("joined", 0.1, victim=20, since=0.0)
    story.started(1.0, token=1, pid=10).tell("killed", 1.2, victim=10)
    story.rescued(4.0).started(4.1, token=2, pid=20, attempt=2)
    return story.finished(4.2, token=2, pid=20).ended(4.3, token=2, attempt=2)


def test_a_plain_history_holds() -> None:
    assert plain().judged().violations == []


def test_a_rescue_in_time_holds() -> None:
    verdict = handed_over().judged()
    assert verdict.violations == []
    assert verdict.rescued == 1
    assert verdict.worst_rescue_s == pytest.approx(2.8)


def test_a_fenced_zombie_may_overlap_for_a_moment() -> None:
    story = Story().asked(0.0).tell("joined", 0.1, victim=20, since=0.0)
    story.started(1.0, token=1, pid=10).tell("paused", 1.1, victim=10)
    story.rescued(4.0).started(4.1, token=2, pid=20, attempt=2)
    story.tell("continued", 6.0, victim=10).tell("stopped", 6.2, 10, id="a", token=1)
    verdict = story.finished(7.0, token=2, pid=20).ended(7.1, token=2, attempt=2).judged()
    assert verdict.violations == []
    assert verdict.worst_overlap_s == pytest.approx(0.2)


def test_one_attempt_may_be_caught_by_a_pause_as_it_begins() -> None:
    story = Story().asked(0.0).tell("joined", 0.1, victim=20, since=0.0)
    story.tell("paused", 0.9, victim=10).rescued(4.0)
    story.started(4.1, token=2, pid=20, attempt=2).finished(4.2, token=2, pid=20)
    story.tell("continued", 6.0, victim=10).started(6.0, token=1, pid=10)
    story.tell("stopped", 6.1, 10, id="a", token=1).ended(4.3, token=2, attempt=2)
    verdict = story.judged()
    assert verdict.violations == []
    assert verdict.excused == 2


def test_the_clock_may_jump() -> None:
    story = Story().asked(0.0).tell("clock", 1.0, offset_s=3600.0)
    story.started(3.0, process_at=3602.0).finished(3.5)
    story.ended(3603.6, process_at=3602.0, started_at=3602.9)
    assert story.judged().violations == []


def test_what_was_never_acknowledged_may_be_missing() -> None:
    story = plain().tell("scheduling", 0.0, id="b", kind="steady", execute_at=None)
    assert story.judged().violations == []


BROKEN_HISTORIES = {
    "acknowledged and gone": ("lost", Story().asked()),
    "left behind": ("lost", Story().asked().live()),
    "completed by nobody": ("lost", Story().asked().started(1.0).ended(1.6)),
    "an effect that is gone": (
        "lost",
        Story().asked(kind="effect").started(1.0).finished(1.5).ended(1.6),
    ),
    "nobody asked for it": ("other", plain().live(id="b")),
    "live and ended": ("doubled", plain().live()),
    "two rows": ("doubled", plain().ended(1.7)),
    "two outcomes": (
        "doubled",
        plain()
        .tell("terminal", 1.65, id="a", token=1, status=COMPLETED)
        .tell("terminal", 1.95, id="a", token=2, status=COMPLETED),
    ),
    "another outcome in the end": (
        "doubled",
        plain().tell("terminal", 1.55, id="a", token=1, status=FAILED),
    ),
    "an outcome that went away": (
        "doubled",
        Story().asked().tell("terminal", 1.55, id="a", token=1, status=COMPLETED).live(),
    ),
    "claimed after its end": ("doubled", plain().started(2.0, token=2, attempt=2)),
    "begun after its end by a zombie": (
        "doubled",
        handed_over().started(9.0, token=1, pid=30),
    ),
    "begun twice under one token": ("doubled", plain().started(1.1)),
    "an effect twice": (
        "doubled",
        plain().row("effect", token=1).row("effect", token=1),
    ),
    "an effect of a stale lease": ("doubled", handed_over().row("effect", token=1)),
    "an effect without completion": ("doubled", Story().asked().live().row("effect", token=1)),
    "begun before its time": (
        "early",
        Story().asked().started(1.0, process_at=1.1).finished(1.5).ended(1.6),
    ),
    "begun before the producer's time": (
        "early",
        Story().asked(execute_at=1.2).started(1.0).finished(1.5).ended(1.6),
    ),
    "claimed before its time": (
        "early",
        plain().live(id="a2", process_at=9.0, started_at=8.0, token=7).asked(task="a2"),
    ),
    "begun before its time on a clock that was set back": (
        "early",
        Story()
        .asked()
        .tell("clock", 0.5, offset_s=-3600.0)
        .started(5.0, process_at=1.0)
        .finished(5.5)
        .ended(-3594.4, process_at=-3596.0, started_at=-3595.0),
    ),
    "tried too often": (
        "other",
        Story().asked().started(1.0, attempt=4).finished(1.5).ended(1.6, attempt=4),
    ),
    "failed with attempts left": (
        "other",
        Story().asked().started(1.0).ended(1.6, status=FAILED),
    ),
    "tokens that go back": (
        "other",
        plain().tell("leased", 1.1, id="a", token=3).tell("leased", 1.2, id="a", token=2),
    ),
    "two executions and no fence": (
        "other",
        Story()
        .asked()
        .started(1.0, token=1, pid=10)
        .started(1.2, token=2, pid=20, attempt=2)
        .finished(1.5, token=1, pid=10)
        .finished(1.6, token=2, pid=20)
        .ended(1.7, token=2),
    ),
    "two executions for long": (
        "other",
        Story()
        .asked()
        .started(1.0, token=1, pid=10)
        .tell("paused", 1.1, victim=10)
        .tell("continued", 3.9, victim=10)
        .rescued(4.0)
        .started(4.1, token=2, pid=20, attempt=2)
        .finished(8.0, token=1, pid=10)
        .finished(8.1, token=2, pid=20)
        .ended(8.2, token=2, attempt=2),
    ),
    "begun after its fence": (
        "other",
        handed_over().started(4.2, token=1, pid=30).finished(4.25, token=1, pid=30),
    ),
    "rescued late": (
        "other",
        Story()
        .asked()
        .tell("joined", 0.1, victim=20, since=0.0)
        .started(1.0, token=1, pid=10)
        .tell("killed", 1.2, victim=10)
        .rescued(6.0)
        .started(6.1, token=2, pid=20, attempt=2)
        .finished(6.2, token=2, pid=20)
        .ended(6.3, token=2, attempt=2),
    ),
    "rescued from the living": (
        "other",
        Story()
        .asked()
        .started(1.0, token=1, pid=10)
        .tell("stopped", 1.9, 10, id="a", token=1)
        .rescued(2.0)
        .started(2.1, token=2, pid=20, attempt=2)
        .finished(2.2, token=2, pid=20)
        .ended(2.3, token=2, attempt=2),
    ),
}


@pytest.mark.parametrize("name", BROKEN_HISTORIES)
def test_a_broken_history_is_rejected(name: str) -> None:
    sort, story = BROKEN_HISTORIES[name]
    verdict = story.judged()
    assert sort in {found.sort for found in verdict.violations}, verdict.violations


def test_a_run_that_was_not_to_be_drained_may_leave_work() -> None:
    assert Story().asked().live().judged(drained=False).violations == []


def test_a_worker_that_was_cut_off_may_lose_its_tasks() -> None:
    _, story = BROKEN_HISTORIES["rescued from the living"]
    assert story.judged(only_the_dead=False).violations == []


def test_records_come_back_whole_and_in_order(tmp_path: Path) -> None:
    first, second = History(tmp_path, "one"), History(tmp_path, "two")
    first.add("a", number=1)
    second.add("b", text="zwei\nzeilen")
    first.add("c")
    first.close()
    second.close()
    torn = next(tmp_path.glob("one-*"))
    torn.write_bytes(torn.read_bytes() + b'{"event": "never quite sa')
    assert [record["event"] for record in read(tmp_path)] == ["a", "b", "c"]
    assert read(tmp_path)[1]["text"] == "zwei\nzeilen"


@pytest.mark.parametrize("name", BROKEN)
def test_the_model_finds_what_is_broken_on_purpose(name: str) -> None:
    walk = explore(BROKEN[name])
    assert walk.wrong
    assert walk.path
