"""The judge: reads the records of a run and the final state of its database, and nothing else.

``python -m tests.chaos.checker FOLDER`` judges a run again, long after it.

What it holds true, numbered as in the list of promises of the README where there is one:

* lost: an acknowledged task is neither live nor ended; or a run that waited for all work to be
  done left one behind; or a task is recorded as completed that no handler has finished.
* doubled: a task has two rows; a terminal row changed or went away; an attempt was begun after
  the terminal row, or twice under one token; an effect of a handler's own transaction is there
  twice, or under a token that did not complete the task.
* early: an attempt began before its time, or before the time that the producer had asked for.
* other: more attempts than granted; tokens that went back; two executions of one task at once
  without a fence between them, or for longer than a worker may take to notice it; a rescue that
  came late, or from a worker that was alive.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

from tests.chaos.history import Record, read

COMPLETED = 2
FAILED = 3
ENDINGS = frozenset({"finished", "raised", "stopped"})
FENCES = frozenset({"rescue", "fail", "cancel"})
CLOCK_GRAIN_S = 0.001
"""The handlers' clock and the database's are the same host's, read a moment apart."""


class Violation(NamedTuple):
    """One broken promise."""

    sort: str
    text: str


class Span(NamedTuple):
    """One execution of one task: from its handler's first word to its last, or its process's."""

    task: str
    token: int
    pid: int
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a scenario promises beyond what always holds."""

    lease_s: float
    drained: bool = True
    """Everything was to be done in the end."""
    only_the_dead: bool = True
    """No worker was cut off from the database, so none that runs may lose its tasks."""
    slack_s: float = 0.5
    """How long a starved machine may keep a process from doing what it is due to do."""


@dataclass(kw_only=True)
class Verdict:
    """What was found."""

    tasks: int = 0
    attempts: int = 0
    rescued: int = 0
    excused: int = 0
    worst_rescue_s: float = 0.0
    worst_overlap_s: float = 0.0
    violations: list[Violation] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """True when nothing was violated."""
        return not self.violations

    def count(self, sort: str) -> int:
        """Return how many violations of one sort there are."""
        return sum(found.sort == sort for found in self.violations)

    def remarks(self) -> list[str]:
        """Return what is worth knowing beside the violations."""
        text = (
            f"{self.attempts} attempts, {self.rescued} rescued, "
            f"worst rescue {self.worst_rescue_s:.2f} s, "
            f"worst overlap {self.worst_overlap_s:.3f} s, "
            f"{self.excused} excused: caught by a pause as they began"
        )
        return [text]


class Checker:
    """One judgement over one set of records."""

    def __init__(self, records: Sequence[Record], rules: Rules) -> None:
        """Sort the records by what they tell."""
        self.rules = rules
        self.verdict = Verdict()
        self.by_event: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            self.by_event[record["event"]].append(record)
        self.rows: dict[str, list[Record]] = defaultdict(list)
        for record in self.by_event["row"]:
            self.rows[record["table"]].append(record)
        self.live = {row["id"]: row for row in self.rows["live"]}
        self.ended = {row["id"]: row for row in self.rows["finished"]}
        self.asked = {record["id"]: record for record in self.by_event["scheduling"]}
        self.acknowledged = {record["id"] for record in self.by_event["acknowledged"]}
        self.started = self.by_event["started"]
        self.endings = {
            (record["id"], record["token"]): record
            for event in ENDINGS
            for record in self.by_event[event]
        }
        self.fences = {
            (row["id"], row["token"]): row
            for row in self.rows["attempt"]
            if row["outcome"] in FENCES
        }
        self.deaths = {
            record["victim"]: record["at"]
            for event in ("killed", "exited")
            for record in self.by_event[event]
        }
        self.pauses = self._pauses()
        began = min((record["at"] for record in records), default=0.0)
        self.offsets = [(began - 60, 0.0)] + [
            (record["at"], record["offset_s"]) for record in self.by_event["clock"]
        ]
        self.pid_of_worker = {record["worker_id"]: record["pid"] for record in self.started}
        self.first_words = self._first_words(records)

    def _pauses(self) -> dict[int, list[tuple[float, float]]]:
        """Return, by process, from when to when it was stopped."""
        resumed: dict[int, list[float]] = defaultdict(list)
        for record in self.by_event["continued"]:
            resumed[record["victim"]].append(record["at"])
        pauses: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for record in self.by_event["paused"]:
            victim, begin = record["victim"], record["at"]
            later = [at for at in resumed[victim] if at >= begin]
            pauses[victim].append((begin, min(later, default=self.deaths.get(victim, begin))))
        return pauses

    def _first_words(self, records: Sequence[Record]) -> set[int]:
        """Return the identity of each record that was its process's first after a pause.

        A process may be stopped between its last look at the clock and its handler's first line.
        Nobody can rule that out, and it can concern one attempt of each pause.
        """
        found: set[int] = set()
        spoken: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            spoken[record["pid"]].append(record)
        for victim, pauses in self.pauses.items():
            for _, end in pauses:
                after = [each for each in spoken[victim] if each["at"] >= end]
                found.update(id(each) for each in after[:1])
        return found

    def judge(self) -> Verdict:
        """Apply every rule."""
        self.verdict.tasks = len(self.asked)
        self.verdict.attempts = len(self.started)
        self.none_lost()
        self.none_doubled()
        self.none_begun_after_its_end()
        self.none_begun_after_its_fence()
        self.effects_once()
        self.none_early()
        self.attempts_bounded()
        self.executions_apart()
        self.rescues_in_time()
        return self.verdict

    def _violated(self, sort: str, text: str) -> None:
        self.verdict.violations.append(Violation(sort, text))

    # -- the rules -------------------------------------------------------------------------------

    def none_lost(self) -> None:
        """Every acknowledged task is there, and ends; none is there that nobody asked for."""
        for task in self.acknowledged - self.live.keys() - self.ended.keys():
            self._violated("lost", f"{task} was acknowledged and is gone")
        for task in (self.live.keys() | self.ended.keys()) - self.asked.keys():
            self._violated("other", f"{task} is there, and nobody asked for it")
        if self.rules.drained:
            for task in self.live:
                self._violated("lost", f"{task} is still to be done although all was to be done")
        did = {(record["id"], record["token"]) for record in self.by_event["finished"]}
        # A handler may be stopped after its transaction was committed, before it heard of that.
        did |= {(row["id"], row["token"]) for row in self.rows["effect"]}
        for task, row in self.ended.items():
            if row["status"] == COMPLETED and (task, row["token"]) not in did:
                self._violated("lost", f"{task} is recorded as completed, and no handler finished")

    def none_doubled(self) -> None:
        """A task has one row, and its outcome stays what it was first seen to be."""
        for table in ("live", "finished"):
            for task, count in Counter(row["id"] for row in self.rows[table]).items():
                if count > 1:
                    self._violated("doubled", f"{task} has {count} rows in {table}")
        for task in self.live.keys() & self.ended.keys():
            self._violated("doubled", f"{task} is live and has ended")
        self.outcomes_kept()
        for task, tokens in self._observed_tokens().items():
            if any(before > later for before, later in pairwise(tokens)):
                self._violated("other", f"{task}: its fencing tokens went back: {tokens}")

    def outcomes_kept(self) -> None:
        """What was once seen to have ended stays ended, in the same way."""
        seen: dict[str, Record] = {}
        for record in self.by_event["terminal"]:
            first = seen.setdefault(record["id"], record)
            if (first["token"], first["status"]) != (record["token"], record["status"]):
                self._violated("doubled", f"{record['id']} ended twice: {first} and {record}")
        for task, record in seen.items():
            row = self.ended.get(task)
            if row is None:
                self._violated("doubled", f"{task} had ended, and its outcome is gone")
            elif (row["token"], row["status"]) != (record["token"], record["status"]):
                self._violated("doubled", f"{task} had ended, and its outcome is another now")

    def _observed_tokens(self) -> dict[str, list[int]]:
        tokens: dict[str, list[int]] = defaultdict(list)
        for record in self.by_event["leased"]:
            tokens[record["id"]].append(record["token"])
        return tokens

    def none_begun_after_its_end(self) -> None:
        """Once the terminal row is there, no attempt begins; and no token is used twice."""
        for key, count in Counter((each["id"], each["token"]) for each in self.started).items():
            if count > 1:
                self._violated("doubled", f"{key[0]} was begun {count} times under token {key[1]}")
        for record in self.started:
            row = self.ended.get(record["id"])
            if row is None or record["token"] == row["token"]:
                continue
            if record["token"] > (row["token"] or 0):
                self._violated("doubled", f"{record['id']} was claimed after it had ended")
            elif (late := record["at"] - self._host_time(row["finished_at"])) > CLOCK_GRAIN_S:
                if id(record) in self.first_words:
                    self.verdict.excused += 1
                else:
                    self._violated(
                        "doubled",
                        f"{record['id']} was begun {late:.3f} s after it had ended, under the "
                        f"stale token {record['token']} by process {record['pid']}",
                    )

    def none_begun_after_its_fence(self) -> None:
        """Once a lease was taken away, nothing is begun under it."""
        for record in self.started:
            row = self.fences.get((record["id"], record["token"]))
            if row is None:
                continue
            late = record["at"] - self._host_time(row["finished_at"])
            if late > CLOCK_GRAIN_S:
                if id(record) in self.first_words:
                    self.verdict.excused += 1
                else:
                    self._violated(
                        "other",
                        f"{record['id']} was begun {late:.3f} s after its lease, token "
                        f"{record['token']}, was taken from process {record['pid']}",
                    )

    def effects_once(self) -> None:
        """What a handler wrote with its completion is there once, exactly if it completed."""
        kept: dict[str, list[int]] = defaultdict(list)
        for row in self.rows["effect"]:
            kept[row["id"]].append(row["token"])
        for task, tokens in kept.items():
            row = self.ended.get(task)
            if len(tokens) > 1:
                self._violated("doubled", f"{task} took effect {len(tokens)} times: {tokens}")
            elif row is None or row["status"] != COMPLETED or row["token"] != tokens[0]:
                self._violated("doubled", f"{task} took effect without being completed by it")
        for task, record in self.asked.items():
            row = self.ended.get(task)
            completed = row is not None and row["status"] == COMPLETED
            if record["kind"] == "effect" and completed and task not in kept:
                self._violated("lost", f"{task} is completed, and its effect is gone")

    def none_early(self) -> None:
        """No attempt began before the time that its lease and its producer named."""
        first: dict[str, int] = {}
        for record in sorted(self.started, key=lambda each: each["token"]):
            first.setdefault(record["id"], record["token"])
        for record in self.started:
            # The clock may have been set back between the claim and the handler's first line.
            now = record["at"] + self._offset(record["at"])
            if now < record["process_at"] - CLOCK_GRAIN_S:
                early = record["process_at"] - now
                self._violated("early", f"{record['id']} was begun {early:.3f} s before its time")
            asked = self.asked.get(record["id"], {}).get("execute_at")
            if record["token"] != first[record["id"]]:
                continue  # tried again, at a time that the store has set
            if asked is not None and now < asked - CLOCK_GRAIN_S:
                early = asked - now
                self._violated("early", f"{record['id']} was begun {early:.3f} s before it was due")
        for row in [*self.rows["finished"], *self.rows["live"]]:
            if row["started_at"] is not None and row["started_at"] < row["process_at"]:
                self._violated("early", f"{row['id']} was claimed before its time")

    def _offset(self, at: float) -> float:
        """Return how far the store's clock was ahead at ``at``; the most of the last second."""
        known = [offset for since, offset in self.offsets if since <= at]
        recent = [offset for since, offset in self.offsets if at - 1 < since <= at]
        before = known[-1 - len(recent)] if len(known) > len(recent) else known[0]
        return max([*recent, before])

    def _host_time(self, stored: float) -> float:
        """Return when, on the host's clock, the store's clock showed ``stored``.

        A run is shorter than a jump, so there is one answer at most.
        """
        for (since, offset), (until, _) in pairwise([*self.offsets, (float("inf"), 0.0)]):
            if since - 1 <= stored - offset < until + 1:
                return stored - offset
        return stored - self.offsets[-1][1]

    def attempts_bounded(self) -> None:
        """No task was tried more often than it may be."""
        for record in self.started:
            if record["attempt"] > record["max_attempts"]:
                self._violated("other", f"{record['id']} was tried {record['attempt']} times")
        for row in self.rows["finished"]:
            granted = row.get("max_attempts")
            if granted is not None and row["attempt"] > granted:
                self._violated("other", f"{row['id']} used {row['attempt']} of {granted} attempts")
            if row["status"] == FAILED and granted is not None and row["attempt"] < granted:
                self._violated("other", f"{row['id']} failed with attempts left")

    def spans(self) -> dict[str, list[Span]]:
        """Return every execution, by task."""
        spans: dict[str, list[Span]] = defaultdict(list)
        last = max((each["at"] for each in self.started), default=0.0)
        for record in self.started:
            task, token, pid = record["id"], record["token"], record["pid"]
            ending = self.endings.get((task, token))
            end = ending["at"] if ending is not None else self.deaths.get(pid, last)
            spans[task].append(Span(task, token, pid, record["at"], end))
        return spans

    def executions_apart(self) -> None:
        """Two executions of one task overlap only as long as a fenced one takes to notice it.

        The time that its process was stopped does not count: nothing was executed.
        """
        bound = self.rules.lease_s / 3 + self.rules.slack_s
        for task, spans in self.spans().items():
            for stale, fresh in combinations(sorted(spans, key=lambda span: span.token), 2):
                begin, end = max(stale.begin, fresh.begin), min(stale.end, fresh.end)
                overlap = end - begin - self._paused(stale.pid, begin, end)
                if overlap <= 0:
                    continue
                self.verdict.worst_overlap_s = max(self.verdict.worst_overlap_s, overlap)
                if (task, stale.token) not in self.fences:
                    self._violated("other", f"{task}: two executions and no fence: {stale} {fresh}")
                elif overlap > bound:
                    self._violated(
                        "other", f"{task}: two executions for {overlap:.2f} s: {stale} {fresh}"
                    )

    def _paused(self, pid: int, begin: float, end: float) -> float:
        spans = self.pauses.get(pid, [])
        return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in spans)

    def rescues_in_time(self) -> None:
        """Who falls silent is relieved within two leases, if anybody is there to do it."""
        lives = self._lives()
        for row in self.rows["attempt"]:
            if row["error_type"] != "WorkerLost":
                continue
            self.verdict.rescued += 1
            at = self._host_time(row["finished_at"])
            silent = self._silent_since(row["worker_id"], at)
            if silent is None:
                if self.rules.only_the_dead:
                    self._violated("other", f"{row['id']} was taken from a worker that was alive")
                continue
            watching = [max(silent, begin) for begin, end in lives if begin <= at <= end]
            took = at - min(watching, default=silent)
            self.verdict.worst_rescue_s = max(self.verdict.worst_rescue_s, took)
            if took > 2 * self.rules.lease_s + self.rules.slack_s:
                self._violated("other", f"{row['id']} was rescued only after {took:.2f} s")

    def _lives(self) -> list[tuple[float, float]]:
        """Return from when to when each worker was there and not stopped."""
        lives: list[tuple[float, float]] = []
        for record in self.by_event["joined"]:
            begin, end = record["since"], self.deaths.get(record["victim"], float("inf"))
            for since, until in sorted(self.pauses.get(record["victim"], [])):
                if since > begin:
                    lives.append((begin, since))
                begin = max(begin, until)
            lives.append((begin, end))
        return lives

    def _silent_since(self, worker_id: int, at: float) -> float | None:
        pid = self.pid_of_worker.get(worker_id)
        if pid is None:
            # Killed before its first handler said a word.
            earlier = sorted(death for death in self.deaths.values() if death <= at)
            return earlier[bisect_right(earlier, at) - 1] if earlier else None
        began = [since for since, _ in self.pauses.get(pid, []) if since <= at]
        if pid in self.deaths and self.deaths[pid] <= at:
            began.append(self.deaths[pid])
        return max(began, default=None)


def judge(records: Sequence[Record], rules: Rules) -> Verdict:
    """Return what the records of one run prove."""
    return Checker(records, rules).judge()


def judge_folder(folder: Path, rules: Rules) -> Verdict:
    """Return what the files of one run prove."""
    return judge(read(folder), rules)


def main(arguments: Iterable[str]) -> int:
    """Judge each folder anew; return an exit code."""
    code = 0
    for name in arguments:
        folder = Path(name)
        rules = next(each for each in read(folder) if each["event"] == "rules")
        verdict = judge_folder(folder, Rules(**rules["rules"]))
        print(f"{folder}: {verdict.tasks} tasks,", *verdict.remarks())
        for found in verdict.violations:
            print(f"  {found.sort}: {found.text}")
        code = code or int(not verdict.holds)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
