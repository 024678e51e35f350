"""A small model of claim, settle, rescue and cancel, explored in every order that there is.

Two workers, one rescuer, one operator, one task. Workers crash, or stop for any length of time and
go on as zombies that know nothing of it. A step is one statement of the store, or something that a
worker does by itself between two of them; every interleaving of these is a path through a graph,
and all of the graph is walked, breadth first.

Tokens are kept as what they are for: whether a worker's token is the row's. The store's clock is
not kept at all: it may jump, so a worker's lease may be expired there at any moment, and only what
is measured on monotonic clocks is relied upon.

The same walk through models that are broken on purpose shows that it finds what it is there to
find.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tests.chaos.lab import note
from tests.chaos.report import Options, Row

NAME = "model"

WORKERS = (0, 1)
MAX_ATTEMPTS = 2
STATES_MAX = 2_000_000

Status = Literal["pending", "running", "completed", "failed", "cancelled"]
ENDED = frozenset({"completed", "failed", "cancelled"})
HOLDING = frozenset({"leased", "executing", "done"})


class Worker(NamedTuple):
    """What one worker's process knows and does, its row in the store, and who watches it."""

    phase: Literal["idle", "chosen", "leased", "executing", "done", "dead"] = "idle"
    current: bool = False
    """Whether its token is the row's."""
    silent: bool = False
    """Two thirds of its lease have passed on its own clock without a beat."""
    stopped: bool = False
    registered: bool = True
    watched: Literal["no", "seen", "waited", "outdated"] = "no"
    """What the rescuer has: its beats; and a lease without one; and one that came after all."""


class State(NamedTuple):
    """Everything."""

    status: Status = "pending"
    owner: int | None = None
    attempt: int = 0
    workers: tuple[Worker, ...] = (Worker(), Worker())
    broken: str = ""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol, and the ways to break it."""

    fenced_completion: bool = True
    """Completing asks for the token, not just for the task."""
    rescue_needs_silence: bool = True
    """Rescuing asks for a silent worker, not just for an old attempt."""
    claim_rechecks: bool = True
    """Claiming looks at the row again once it holds its lock."""
    claim_needs_registry: bool = True
    """Claiming asks that the worker is still registered, in the claim's own transaction."""
    bury_rechecks_beats: bool = True
    """Burying asks that no beat has come since the rescuer looked."""
    begin_looks_at_clock: bool = True
    """A lease that waited for a slot is begun only while the worker may trust it."""


Steps = Iterator[tuple[str, State]]


def put(state: State, index: int, **facts: object) -> State:
    """Return ``state`` with some of one worker's facts changed."""
    workers = list(state.workers)
    workers[index] = workers[index]._replace(**facts)  # pyright: ignore[reportArgumentType]
    return state._replace(workers=tuple(workers))


def lease_over(state: State, status: Status, **facts: object) -> State:
    """Return ``state`` with the lease ended: nobody's token is the row's any more."""
    workers = tuple(worker._replace(current=False) for worker in state.workers)
    ended = state._replace(status=status, owner=None, workers=workers)
    return ended._replace(**facts)  # pyright: ignore[reportArgumentType]


def again_or_failed(state: State) -> State:
    """End a lease whose attempt counts without success."""
    return lease_over(state, "failed" if state.attempt >= MAX_ATTEMPTS else "pending")


def worker_steps(state: State, index: int, rules: Rules) -> Steps:
    """Every step that a worker's process can take."""
    me = state.workers[index]
    if me.phase == "dead":
        return
    yield f"{index} crashes", put(state, index, phase="dead", stopped=False, current=False)
    if me.stopped:
        yield f"{index} goes on", put(state, index, stopped=False)
        return
    yield f"{index} is stopped", put(state, index, stopped=True)
    if not me.silent:
        yield f"{index} cannot beat", put(state, index, silent=True)
    yield from beating(state, index)
    yield from executing(state, index, rules)
    yield from claiming(state, index, rules)
    yield from settling(state, index, rules)


def beating(state: State, index: int) -> Steps:
    """Beat, and learn from the answer; or fence oneself without one."""
    me = state.workers[index]
    # What is fenced is dropped, but for outcomes: those are sent, and their token decides.
    kept = me.phase if me.phase in {"done", "chosen"} else "idle"
    if me.silent and me.phase in {"leased", "executing"}:
        yield f"{index} fences itself", put(state, index, phase=kept, current=False)
    if not me.registered:
        joined = put(state, index, phase=kept, registered=True, watched="no", silent=False)
        yield f"{index} learns that it was struck out, and joins anew", joined
        return
    watched = {"seen": "no", "waited": "outdated"}.get(me.watched, me.watched)
    beaten = put(state, index, silent=False, watched=watched)
    if me.silent and kept != me.phase:
        beaten = put(beaten, index, phase=kept, current=False)
    if beaten != state:
        yield f"{index} beats", beaten


def executing(state: State, index: int, rules: Rules) -> Steps:
    """Begin the handler, and end it: nothing here touches the store."""
    me = state.workers[index]
    if me.phase == "leased" and not (rules.begin_looks_at_clock and me.silent):
        begun = put(state, index, phase="executing")
        if not me.current and state.status in {"completed", "failed"}:
            begun = begun._replace(broken="begun after its end")
        yield f"{index} begins", begun
    if me.phase == "executing":
        yield f"{index} has done it", put(state, index, phase="done")


def claiming(state: State, index: int, rules: Rules) -> Steps:
    """Choose the row, and lock and take it: one statement, two moments."""
    me = state.workers[index]
    if me.phase == "idle" and state.status == "pending" and not me.silent:
        yield f"{index} chooses", put(state, index, phase="chosen")
    if me.phase == "idle" and state.owner == index and me.registered:
        # The worker knows of no lease, the store does: it is given back and does not count.
        back = lease_over(state, "pending", attempt=state.attempt - 1)
        yield f"{index} reconciles", back
    if me.phase != "chosen":
        return
    if rules.claim_rechecks and state.status != "pending":
        yield f"{index} finds it taken", put(state, index, phase="idle")
        return
    if rules.claim_needs_registry and not me.registered:
        yield f"{index} may not claim", put(state, index, phase="idle")
        return
    broken = "" if state.status == "pending" else f"claimed while {state.status}"
    if not me.registered:
        broken = broken or "leased to a worker that nobody will ever bury"
    claimed = lease_over(state, "running", owner=index, attempt=state.attempt + 1, broken=broken)
    yield f"{index} claims", put(claimed, index, phase="leased", current=True)
    yield f"{index} claims, and the answer is lost", put(claimed, index, phase="idle")


def settling(state: State, index: int, rules: Rules) -> Steps:
    """Record the outcome."""
    me = state.workers[index]
    if me.phase != "done":
        return
    freed = put(state, index, phase="idle", current=False)
    if rules.fenced_completion and not me.current:
        yield f"{index} is told that its lease is lost", freed
        return
    broken = "" if me.current else f"completed under a stale token while {state.status}"
    done = lease_over(freed, "completed", broken=broken)
    yield f"{index} completes", done
    yield f"{index} completes, and the answer is lost", put(done, index, phase="done")
    if me.current:
        yield f"{index} fails the attempt", again_or_failed(freed)


def rescuer_steps(state: State, rules: Rules) -> Steps:
    """Look at a worker, wait for a lease, and bury it if it was silent."""
    for index in WORKERS:
        me = state.workers[index]
        if not me.registered:
            continue
        if not rules.rescue_needs_silence and state.owner == index:
            yield f"the rescuer takes it from {index}", rescued(state, index)
        if me.watched in {"no", "outdated"}:
            yield f"the rescuer sees {index}", put(state, index, watched="seen")
        if me.watched == "seen" and (me.phase == "dead" or me.stopped or me.silent):
            # More time than the worker itself allows: its own clock shows it, should it look.
            waited = put(state, index, watched="waited", silent=True)
            yield f"a lease passes without {index}", waited
        if me.watched == "waited" or (me.watched == "outdated" and not rules.bury_rechecks_beats):
            held = state.owner == index
            buried = put(rescued(state, index) if held else state, index, registered=False)
            yield f"the rescuer buries {index}", buried


def rescued(state: State, index: int) -> State:
    """Take the task from worker ``index``: wrong while that one runs and may trust its lease."""
    me = state.workers[index]
    back = again_or_failed(state)
    if me.phase in {"leased", "executing"} and me.current and not me.stopped and not me.silent:
        return back._replace(broken="rescued from a worker that lives and trusts its lease")
    return back


def operator_steps(state: State) -> Steps:
    """Cancel the task, waiting or running."""
    if state.status in {"pending", "running"}:
        yield "the operator cancels", lease_over(state, "cancelled")


def steps(state: State, rules: Rules) -> Steps:
    """Everything that can happen next."""
    for index in WORKERS:
        yield from worker_steps(state, index, rules)
    yield from rescuer_steps(state, rules)
    yield from operator_steps(state)


def wrong(before: State, after: State) -> str:
    """Return what is wrong with a step, or nothing."""
    if after.broken:
        return after.broken
    if before.status in ENDED and after.status != before.status:
        return f"was {before.status}, is {after.status}"
    if after.attempt > MAX_ATTEMPTS:
        return "more attempts than granted"
    if (after.status == "running") != (after.owner is not None):
        return "running for nobody"
    if sum(worker.current for worker in after.workers) > 1:
        return "two leases at once"
    return ""


class Walk(NamedTuple):
    """What a walk through all states found."""

    states: int
    edges: int
    wrong: str
    path: tuple[str, ...]
    stuck: int
    """States from which no path leads to an end, nor back to where any worker may claim it."""


def explore(rules: Rules) -> Walk:
    """Walk through every state that can be reached; stop at the first step that is wrong."""
    first = State()
    came: dict[State, tuple[State, str] | None] = {first: None}
    backward: dict[State, list[State]] = {}
    todo = deque([first])
    edges = 0
    while todo:
        state = todo.popleft()
        for name, after in steps(state, rules):
            edges += 1
            if found := wrong(state, after):
                return Walk(len(came), edges, found, (*path_to(state, came), name), 0)
            backward.setdefault(after, []).append(state)
            if after not in came:
                came[after] = (state, name)
                todo.append(after)
        if len(came) > STATES_MAX:
            message = "the model has more states than it should"
            raise RuntimeError(message)
    return Walk(len(came), edges, "", (), stuck(came, backward))


def path_to(state: State, came: dict[State, tuple[State, str] | None]) -> tuple[str, ...]:
    """Return the steps that led to ``state``."""
    names: list[str] = []
    while (before := came[state]) is not None:
        state, name = before
        names.append(name)
    return tuple(reversed(names))


def stuck(came: dict[State, tuple[State, str] | None], backward: dict[State, list[State]]) -> int:
    """Count the states in which the task is lost."""
    good = {state for state in came if state.status in ENDED or state.status == "pending"}
    todo = deque(good)
    while todo:
        for before in backward.get(todo.popleft(), []):
            if before not in good:
                good.add(before)
                todo.append(before)
    return len(came) - len(good)


BROKEN = {
    "unfenced completion": Rules(fenced_completion=False),
    "rescue by age alone": Rules(rescue_needs_silence=False),
    "claim without recheck": Rules(claim_rechecks=False),
    "claim by one who was struck out": Rules(claim_needs_registry=False),
    "burial without another look at the beats": Rules(bury_rechecks_beats=False),
    "begin without a look at the clock": Rules(begin_looks_at_clock=False),
}


def run(options: Options) -> list[Row]:
    """Walk through the model, which must hold, and its broken variants, which must not."""
    began = time.monotonic()
    walk = explore(Rules())
    violations = [f"other: {walk.wrong}: {' / '.join(walk.path)}"] if walk.wrong else []
    if walk.stuck:
        violations.append(f"lost: from {walk.stuck} states the task never ends")
    note(f"{walk.states} states, {walk.edges} steps, {time.monotonic() - began:.1f} s")
    for name, rules in BROKEN.items():
        found = explore(rules)
        if found.wrong:
            note(f"broken: {name}: caught after {found.states} states: {found.wrong}")
            note(f"    {' / '.join(found.path)}")
        elif found.stuck:
            note(f"broken: {name}: caught: from {found.stuck} states the task never ends")
        else:
            violations.append(f"other: the broken variant {name!r} was not caught")
    return [
        Row(
            fault=f"model: {walk.states:,} states; {len(BROKEN)} broken variants, all caught",
            times=walk.edges,
            tasks=1,
            lost=int(walk.stuck > 0),
            other=len(violations) - int(walk.stuck > 0),
            command=options.command(NAME),
            violations=violations,
        )
    ]
