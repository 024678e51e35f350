"""The schedule: what is to be stored as a task, again and again, and when."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Required, TypedDict, Unpack
from uuid import UUID

from taskscheduler.domain.errors import InvalidSchedule
from taskscheduler.domain.every import every_of
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.policies import SINGLE, CatchUp, Overlap, check_policies
from taskscheduler.domain.rule import Fold, Gap, Rule, check_texts
from taskscheduler.domain.schedule_fields import check_types
from taskscheduler.domain.tags import require_tags
from taskscheduler.domain.values import (
    NAME,
    NAME_FORM,
    NOTHING,
    PRIORITY_DEFAULT,
    QUEUE_DEFAULT,
    TaskId,
    in_utc,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from taskscheduler.domain.fire import Fire

EVERY_MIN: Final = timedelta(seconds=1)
EVERY_MAX: Final = timedelta(days=366)
CRON_CHARACTERS_MAX: Final = 256
CRONS_MAX: Final = 20
JITTER_MIN: Final = timedelta(milliseconds=1)
JITTER_MAX: Final = timedelta(days=1)
FIRES_MAX: Final = 1_000_000_000
TIME_ZONE_CHARACTERS_MAX: Final = 64
GRACE: Final = timedelta(minutes=1)
"""How long nobody may have looked at schedules before it counts as an outage; and with
``CatchUp.NONE`` a fire that passed in one, and is later than this, is let go."""
NOBODY: Final = TaskId(UUID(int=0))


class ScheduleFields(TypedDict, total=False):
    """The fields of ``NewSchedule`` but for ``payload``."""

    name: Required[str]
    kind: Required[str]
    cron: str | None
    every: timedelta | None
    time_zone: str
    payload_json: bytes
    queue: str
    priority: int
    max_attempts: int | None
    timeout: timedelta | None
    starts_at: datetime | None
    ends_at: datetime | None
    catch_up: CatchUp
    overlap: Overlap
    crons: tuple[str, ...]
    gap: Gap | None
    fold: Fold | None
    jitter: timedelta | None
    max_fires: int | None
    catch_up_window: timedelta | None
    catch_up_max: int | None
    pause_after_failures: int | None
    rrule: str | None
    except_: tuple[str, ...]
    group: str | None
    tags: tuple[str, ...]


CHOICES: Final = {"catch_up": CatchUp, "overlap": Overlap, "gap": Gap, "fold": Fold}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Definition:
    """What is kept of a ``NewSchedule``."""

    name: str
    kind: str
    cron: str | None = None
    every: timedelta | None = None
    time_zone: str = "UTC"
    payload_json: bytes = b"null"
    queue: str = QUEUE_DEFAULT
    priority: int = PRIORITY_DEFAULT
    max_attempts: int | None = None
    timeout: timedelta | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.ALLOW
    crons: tuple[str, ...] = ()
    gap: Gap | None = None
    fold: Fold | None = None
    jitter: timedelta | None = None
    max_fires: int | None = None
    catch_up_window: timedelta | None = None
    catch_up_max: int | None = None
    pause_after_failures: int | None = None
    rrule: str | None = None
    except_: tuple[str, ...] = ()
    group: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check each field; those that a task has, as a task does."""
        check_types(self, CHOICES)
        object.__setattr__(self, "crons", tuple(self.crons))
        object.__setattr__(self, "except_", tuple(self.except_))
        object.__setattr__(self, "tags", require_tags(self.tags))
        if NAME.fullmatch(self.name) is None or not self.name.strip("."):
            raise InvalidSchedule("name", f"must be {NAME_FORM}, and not only dots")
        self._check_crons()
        self._check_times()
        self._check_bounds()
        check_policies(
            self.catch_up,
            self.overlap,
            self.catch_up_window,
            self.catch_up_max,
            self.pause_after_failures,
        )
        self.task(NOBODY)

    def _check_crons(self) -> None:
        by_clocks = self.cron is not None or self.crons or self.rrule is not None
        if bool(by_clocks) == (self.every is not None):
            reason = "give either every_s, or any of cron, crons and rrule"
            raise InvalidSchedule("cron", reason)
        check_texts(self.rrule, self.except_)
        if len(self.crons) > CRONS_MAX:
            raise InvalidSchedule("crons", f"must be at most {CRONS_MAX} expressions")
        for field, given in (("cron", self.cron), *(("crons", each) for each in self.crons)):
            if given is not None and not 1 <= len(given) <= CRON_CHARACTERS_MAX:
                raise InvalidSchedule(field, f"must be 1 to {CRON_CHARACTERS_MAX} characters")
        for field, policy in (("gap", self.gap), ("fold", self.fold)):
            if policy is not None and self.every is not None:
                raise InvalidSchedule(field, "is for cron: every_s knows no clocks")

    def _check_bounds(self) -> None:
        if self.jitter is not None and not JITTER_MIN <= self.jitter <= JITTER_MAX:
            raise InvalidSchedule("jitter_s", "must be 0.001 seconds to 1 day")
        if self.max_fires is not None and not 1 <= self.max_fires <= FIRES_MAX:
            raise InvalidSchedule("max_fires", f"must be 1 to {FIRES_MAX}")

    def _check_times(self) -> None:
        if self.every is not None and not EVERY_MIN <= self.every <= EVERY_MAX:
            raise InvalidSchedule("every_s", "must be 1 second to 366 days")
        if not 1 <= len(self.time_zone) <= TIME_ZONE_CHARACTERS_MAX:
            raise InvalidSchedule("time_zone", "must be an IANA name, such as Europe/Berlin")
        for field in ("starts_at", "ends_at"):
            moment: datetime | None = getattr(self, field)
            if moment is not None:
                object.__setattr__(self, field, in_utc(field, moment))
        first, last = self.starts_at, self.ends_at
        if first is not None and last is not None and first > last:
            raise InvalidSchedule("ends_at", "must not be before starts_at")

    @property
    def rule(self) -> Rule:
        """All that decides when it fires."""
        return Rule(
            cron=self.cron,
            every=self.every,
            time_zone=self.time_zone,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            gap=self.gap,
            fold=self.fold,
            crons=self.crons,
            max_fires=self.max_fires,
            rrule=self.rrule,
            except_=self.except_,
        )

    def task(self, task_id: TaskId, fire_at: datetime | None = None) -> NewTask:
        """Return the task of the fire at ``fire_at``, due then or a little later by ``jitter``.

        Without a time it is a task for now.

        The fire's time is a part of the task's unique key, so no fire makes a second task while
        unique keys live, even if the schedule was deleted and made again.
        """
        return NewTask(
            id=task_id,
            kind=self.kind,
            payload_json=self.payload_json,
            execute_at=None if fire_at is None else due_at(self.name, fire_at, self.jitter),
            queue=self.queue,
            priority=self.priority,
            max_attempts=self.max_attempts,
            timeout=self.timeout,
            tags=self.tags,
            unique_key=None if fire_at is None else key_of(self.name, fire_at),
            group=self.group,
        )


class NewSchedule(_Definition):
    """A schedule as its author asks for it.

    It fires by ``cron``, five fields or six with the seconds first, on the clocks of
    ``time_zone``, an IANA name, by each of ``crons``, and by ``rrule``, a recurrence rule of RFC
    5545, once where they meet, or ``every`` so often; but not at what ``except_`` names: days,
    moments, other rules. Intervals and recurrence rules begin with ``starts_at``, or else when the
    schedule was made. ``gap`` and ``fold`` say what becomes of times that the clocks leave out or
    show twice. It ends after ``max_fires``
    tasks. A fire that is later than ``catch_up_window`` is let go, and of those that are due at
    once all but the latest ``catch_up_max``, with which ``catch_up`` is ``all`` unless it is given.
    It pauses after ``pause_after_failures`` tasks in a row that failed. Each task is due up to
    ``jitter`` later than its fire, by the same span at each look.
    ``starts_at`` and ``ends_at`` are aware, and the times between
    which it fires, both included. ``payload`` is anything that has a JSON form; who has that form
    already gives it as ``payload_json`` instead, and it is kept to the letter. The rest is as in
    ``NewTask``.

    Raises:
        InvalidSchedule: a field cannot be stored.
    """

    __slots__ = ("_given",)

    def __init__(self, *, payload: object = NOTHING, **fields: Unpack[ScheduleFields]) -> None:
        """Check each field."""
        if isinstance(payload, bytes | bytearray | memoryview):
            raise InvalidSchedule("payload", "must not be bytes: give JSON text as payload_json")
        if payload is not NOTHING:
            fields.pop("payload_json", None)  # that of the one that this is a copy of
        cron = fields.get("cron")
        if isinstance(cron, str) and (every := every_of(cron)) is not None:
            if fields.get("every") is not None:
                raise InvalidSchedule("cron", "give either every_s or @every")
            fields["cron"], fields["every"] = None, every
        fields.update(implied(fields))  # pyright: ignore[reportArgumentType, reportCallIssue]
        super().__init__(**fields)
        object.__setattr__(self, "_given", payload)

    @property
    def payload(self) -> object:
        """The payload as it was given, or else as it is read from its JSON form."""
        given: object = getattr(self, "_given", NOTHING)
        return json.loads(self.payload_json) if given is NOTHING else given

    def encoded(self, encode: Callable[[object], bytes]) -> NewSchedule:
        """Return the schedule with its payload in JSON form.

        Raises:
            InvalidSchedule: the payload has none, or is too large.
        """
        given: object = getattr(self, "_given", NOTHING)
        return self if given is NOTHING else replace(self, payload_json=encode(given))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it is kept. Each verb returns the next one; none changes this one.

    ``next_fire_at`` is None while it is paused, and when it will not fire any more. Once it has
    passed it is due, whatever the rule says by then. ``ruled_at`` is since when the rule holds.
    ``last_fire_at`` is the time that was last due, and ``last_task_id`` the task that was last
    stored. ``revision`` grows with every change, a fire included. ``zone_data`` is the version of
    the time zones by which ``next_fire_at`` was reckoned, None where it depends on none.
    ``problem`` says why a worker could not fire it when it was due last. ``fire_count`` is how many
    tasks it has stored by itself, fires that wait included. ``pause_reason`` is why it was paused,
    where nobody did it by hand.
    """

    definition: NewSchedule
    revision: int
    created_at: datetime
    changed_at: datetime
    ruled_at: datetime
    paused_at: datetime | None
    next_fire_at: datetime | None
    last_fire_at: datetime | None = None
    last_task_id: TaskId | None = None
    zone_data: str | None = None
    problem: str | None = None
    fire_count: int = 0
    pause_reason: str | None = None

    @classmethod
    def make(
        cls,
        definition: NewSchedule,
        *,
        now: datetime,
        next_fire_at: datetime | None,
        zone_data: str | None = None,
    ) -> Schedule:
        """Return the schedule that ``definition`` becomes."""
        return cls(
            definition=definition,
            revision=1,
            created_at=now,
            changed_at=now,
            ruled_at=now,
            paused_at=None,
            next_fire_at=next_fire_at,
            zone_data=zone_data,
        )

    @property
    def name(self) -> str:
        """What the schedule is called."""
        return self.definition.name

    @property
    def is_paused(self) -> bool:
        """Whether it is kept from firing."""
        return self.paused_at is not None

    def redefine(
        self,
        definition: NewSchedule,
        *,
        now: datetime,
        next_fire_at: datetime | None,
        zone_data: str | None = None,
    ) -> Schedule:
        """Let it be ``definition`` from now on; one that is paused stays so.

        With another rule it goes on to ``next_fire_at``. What is due by now was to be by the rule
        that held until now, and stays due; so does all that comes by a rule that stays.
        """
        changed = replace(
            self, definition=definition, revision=self.revision + 1, changed_at=now, problem=None
        )
        if self.is_paused or definition.rule == self.definition.rule:
            return changed
        if self.next_fire_at is not None and self.next_fire_at <= now:
            return replace(changed, ruled_at=now)
        return replace(changed, ruled_at=now, next_fire_at=next_fire_at, zone_data=zone_data)

    def pause(self, *, now: datetime, reason: str | None = None) -> Schedule:
        """Let it not fire until it is resumed."""
        return replace(
            self,
            revision=self.revision + 1,
            changed_at=now,
            paused_at=now,
            next_fire_at=None,
            pause_reason=reason,
        )

    def resume(
        self, *, now: datetime, next_fire_at: datetime | None, zone_data: str | None = None
    ) -> Schedule:
        """Let it fire again; what passed meanwhile was not to be."""
        return replace(
            self,
            revision=self.revision + 1,
            changed_at=now,
            ruled_at=now,
            paused_at=None,
            next_fire_at=next_fire_at,
            zone_data=zone_data,
            pause_reason=None,
        )

    @property
    def is_used_up(self) -> bool:
        """Whether it has stored all the tasks that it may."""
        most = self.definition.max_fires
        return most is not None and self.fire_count >= most

    def fire(self, fire: Fire, task_ids: Sequence[TaskId], buffered: int = 0) -> Schedule:
        """Go on after ``fire``: the last of ``task_ids`` was stored, ``buffered`` fires wait."""
        count = self.fire_count + len(task_ids) + buffered
        most = self.definition.max_fires
        return replace(
            self,
            revision=self.revision + 1,
            fire_count=count,
            next_fire_at=None if most is not None and count >= most else fire.next_fire_at,
            last_fire_at=fire.fired_at,
            last_task_id=task_ids[-1] if task_ids else self.last_task_id,
            zone_data=fire.zone_data,
            problem=None,
        )

    def release(self, task_id: TaskId) -> Schedule:
        """Go on after a fire that waited, for which ``task_id`` was stored."""
        return replace(self, revision=self.revision + 1, last_task_id=task_id)


def implied(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was not given and follows from what was: a bound to ``all`` means ``all``."""
    if "catch_up" in fields or fields.get("catch_up_max") is None:
        return {}
    return {} if fields.get("overlap") in SINGLE else {"catch_up": CatchUp.ALL}


def due_at(name: str, fire_at: datetime, jitter: timedelta | None) -> datetime:
    """Return when the task of the fire at ``fire_at`` is due: always the same for one fire."""
    if jitter is None:
        return fire_at
    drawn = hashlib.blake2b(key_of(name, fire_at).encode(), digest_size=8).digest()
    share = int.from_bytes(drawn) / 2**64
    return fire_at + timedelta(microseconds=int(share * (jitter / timedelta(microseconds=1))))


def key_of(name: str, fire_at: datetime) -> str:
    """Return the unique key of the task of a schedule's fire."""
    return f"{name}@{_text(fire_at)}"


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
