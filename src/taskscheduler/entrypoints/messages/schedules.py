"""What goes over the wire for schedules."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from taskscheduler.application.calendar.zones import zone_of
from taskscheduler.domain.policies import (
    CATCH_UP_MAX,
    FAILURES_MAX,
    WINDOW_MAX,
    WINDOW_MIN,
    CatchUp,
    Overlap,
)
from taskscheduler.domain.rule import (
    EXCEPT_CHARACTERS_MAX,
    EXCEPT_MAX,
    RRULE_CHARACTERS_MAX,
    Fold,
    Gap,
)
from taskscheduler.domain.schedule import (
    CRON_CHARACTERS_MAX,
    CRONS_MAX,
    EVERY_MAX,
    EVERY_MIN,
    FIRES_MAX,
    JITTER_MAX,
    JITTER_MIN,
    TIME_ZONE_CHARACTERS_MAX,
    NewSchedule,
    Schedule,
)
from taskscheduler.domain.values import (
    PRIORITY_DEFAULT,
    PRIORITY_LOWEST,
    QUEUE_DEFAULT,
    TIMEOUT_MAX,
)
from taskscheduler.entrypoints.messages.tasks import (
    PAYLOAD_LEFT_OUT,
    YEARS,
    Group,
    Instant,
    Name,
    Payload,
    Tags,
    no_payload,
    payload_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.calendar.preview import Foreseen, Preview

Cron = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=CRON_CHARACTERS_MAX,
        description="minute hour day month weekday, six fields if seconds come first, or @daily",
        examples=["0 3 * * *"],
    ),
]
Every = Annotated[
    float,
    Meta(
        ge=EVERY_MIN.total_seconds(),
        le=EVERY_MAX.total_seconds(),
        description="seconds between two fires, instead of cron",
    ),
]
Zone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TIME_ZONE_CHARACTERS_MAX,
        description="an IANA name: whose clocks cron goes by",
        examples=["Europe/Berlin"],
    ),
]
Bound = Annotated[Instant, Meta(description="ISO 8601 with an offset", extra_json_schema=YEARS)]
Crons = Annotated[
    list[Cron],
    Meta(max_length=CRONS_MAX, description="more expressions; it fires by each, beside cron"),
]
CatchUpPolicy = Annotated[
    CatchUp, Meta(description="what becomes of fires that passed in an outage; by default latest")
]
Rrule = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=RRULE_CHARACTERS_MAX,
        description="a recurrence rule of RFC 5545, beside cron or instead; it begins with "
        "starts_at, or when the schedule was made",
        examples=["FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0;BYSECOND=0"],
    ),
]
Except = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=EXCEPT_CHARACTERS_MAX)]],
    Meta(
        max_length=EXCEPT_MAX,
        description="what is left out, on the clocks of time_zone: days (2026-12-25, "
        "2026-12-24/2026-12-26), moments with an offset, cron expressions, recurrence rules; those "
        "that name no times of a day leave out whole days",
        examples=[["2026-12-25", "* * * 8 *"]],
    ),
]
GapPolicy = Annotated[
    Gap | None,
    Meta(
        description="what becomes of times that are left out when clocks are put forward; null: "
        "after, but skip where the minute or hour begins with a star or there are seconds"
    ),
]
FoldPolicy = Annotated[
    Fold | None,
    Meta(
        description="what becomes of times that come twice when clocks are put back; null: first, "
        "but both where the minute or hour begins with a star or there are seconds"
    ),
]
Jitter = Annotated[
    float,
    Meta(
        ge=JITTER_MIN.total_seconds(),
        le=JITTER_MAX.total_seconds(),
        description="each task is due up to so many seconds after its fire, always as many",
    ),
]
Window = Annotated[
    float,
    Meta(
        ge=WINDOW_MIN.total_seconds(),
        le=WINDOW_MAX.total_seconds(),
        description="a fire that is later than so many seconds is let go",
    ),
]
CatchUpMax = Annotated[
    int,
    Meta(
        ge=1,
        le=CATCH_UP_MAX,
        description="of fires that are due at once so many are stored, the latest; then catch_up "
        "is all, unless it is given",
    ),
]
Failures = Annotated[
    int,
    Meta(ge=1, le=FAILURES_MAX, description="so many tasks in a row that failed pause it"),
]
FiresMax = Annotated[int, Meta(ge=1, le=FIRES_MAX, description="it ends with so many tasks")]
Priority = Annotated[int, Meta(ge=0, le=PRIORITY_LOWEST, description="0 is the most urgent")]
Attempts = Annotated[int, Meta(ge=1, le=32_767)]
Timeout = Annotated[float, Meta(ge=0.000_001, le=TIMEOUT_MAX.total_seconds())]


class DefinitionMessage(Struct, forbid_unknown_fields=True, kw_only=True):
    """All of a schedule but its name. It fires by cron, crons and rrule, or else by every_s."""

    kind: Annotated[Name, Meta(examples=["Foo"])]
    cron: Cron | UnsetType = UNSET
    every_s: Every | UnsetType = UNSET
    time_zone: Zone = "UTC"
    payload: Annotated[Payload, Meta(extra_json_schema=PAYLOAD_LEFT_OUT)] = field(
        default_factory=no_payload
    )
    queue: Name = QUEUE_DEFAULT
    priority: Priority = PRIORITY_DEFAULT
    max_attempts: Attempts | None = None
    timeout_s: Timeout | None = None
    starts_at: Bound | None = None
    ends_at: Bound | None = None
    catch_up: CatchUpPolicy | UnsetType = UNSET
    overlap: Overlap = Overlap.ALLOW
    crons: Crons = []
    gap: GapPolicy = None
    fold: FoldPolicy = None
    jitter_s: Jitter | None = None
    max_fires: FiresMax | None = None
    catch_up_window_s: Window | None = None
    catch_up_max: CatchUpMax | None = None
    pause_after_failures: Failures | None = None
    rrule: Rrule | UnsetType = UNSET
    except_: Except = field(default_factory=list[str], name="except")
    group: Group | None = None
    tags: Tags = []

    def schedule(self, name: str) -> NewSchedule:
        """Return what is asked for, under ``name``. Raises InvalidSchedule."""
        return NewSchedule(name=name, **fields_of(self))


class PutScheduleMessage(DefinitionMessage, forbid_unknown_fields=True, kw_only=True):
    """A schedule whose name is in the path. It fires by cron, crons and rrule, or by every_s."""

    name: Name | UnsetType = UNSET


class NewScheduleMessage(DefinitionMessage, forbid_unknown_fields=True, kw_only=True):
    """A schedule to be made. It fires by cron, crons and rrule, or else by every_s."""

    name: Annotated[Name, Meta(examples=["nightly-report"])]


class ScheduleEditMessage(Struct, forbid_unknown_fields=True, kw_only=True):
    """New values for a schedule; what is left out stays as it is."""

    kind: Name | UnsetType = UNSET
    cron: Cron | UnsetType = UNSET
    every_s: Every | UnsetType = UNSET
    time_zone: Zone | UnsetType = UNSET
    payload: Payload | UnsetType = UNSET
    queue: Name | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    max_attempts: Attempts | UnsetType | None = UNSET
    timeout_s: Timeout | UnsetType | None = UNSET
    starts_at: Bound | UnsetType | None = UNSET
    ends_at: Bound | UnsetType | None = UNSET
    catch_up: CatchUp | UnsetType = UNSET
    overlap: Overlap | UnsetType = UNSET
    crons: Crons | UnsetType = UNSET
    gap: GapPolicy | UnsetType = UNSET
    fold: FoldPolicy | UnsetType = UNSET
    jitter_s: Jitter | UnsetType | None = UNSET
    max_fires: FiresMax | UnsetType | None = UNSET
    catch_up_window_s: Window | UnsetType | None = UNSET
    catch_up_max: CatchUpMax | UnsetType | None = UNSET
    pause_after_failures: Failures | UnsetType | None = UNSET
    rrule: Rrule | UnsetType = UNSET
    except_: Except | UnsetType = field(default=UNSET, name="except")
    group: Group | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET


class ScheduleMessage(Struct, kw_only=True):
    """A schedule. `next_fire_at` is null while it is paused, and once it has ended."""

    name: str
    kind: str
    queue: str
    group: str | None
    priority: int
    payload: Any
    cron: str | None
    every_s: float | None
    time_zone: str
    starts_at: datetime | None
    ends_at: datetime | None
    catch_up: CatchUp
    overlap: Overlap
    crons: list[str]
    gap: Gap | None
    fold: Fold | None
    jitter_s: float | None
    max_fires: int | None
    catch_up_window_s: float | None
    catch_up_max: int | None
    pause_after_failures: int | None
    rrule: str | None
    except_: list[str] = field(name="except")
    tags: list[str]
    fire_count: int
    max_attempts: int | None
    timeout_s: float | None
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    last_task_id: UUID | None
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleMessage:
        """Return ``schedule`` as it is sent."""
        definition = schedule.definition
        return cls(
            name=definition.name,
            kind=definition.kind,
            queue=definition.queue,
            group=definition.group,
            priority=definition.priority,
            payload=msgspec.Raw(definition.payload_json),
            cron=definition.cron,
            every_s=_seconds(definition.every),
            time_zone=definition.time_zone,
            starts_at=definition.starts_at,
            ends_at=definition.ends_at,
            catch_up=definition.catch_up,
            overlap=definition.overlap,
            crons=list(definition.crons),
            gap=definition.gap,
            fold=definition.fold,
            jitter_s=_seconds(definition.jitter),
            max_fires=definition.max_fires,
            catch_up_window_s=_seconds(definition.catch_up_window),
            catch_up_max=definition.catch_up_max,
            pause_after_failures=definition.pause_after_failures,
            rrule=definition.rrule,
            except_=list(definition.except_),
            tags=list(definition.tags),
            fire_count=schedule.fire_count,
            max_attempts=definition.max_attempts,
            timeout_s=_seconds(definition.timeout),
            paused=schedule.is_paused,
            paused_at=schedule.paused_at,
            pause_reason=schedule.pause_reason,
            next_fire_at=schedule.next_fire_at,
            last_fire_at=schedule.last_fire_at,
            last_task_id=schedule.last_task_id,
            created_at=schedule.created_at,
            changed_at=schedule.changed_at,
        )


class FireMessage(Struct):
    """When a schedule fires; `local` is what the clocks of its zone show then.

    `clocks` is `gap` or `fold` where a change of clocks moves or doubles the fire, and `note` says
    what another policy would do.
    """

    at: datetime
    local: datetime
    clocks: str | None
    note: str | None


class PreviewMessage(Struct):
    """The next fires of a schedule, the earliest first; fewer than asked for if it ends.

    `left_out` are times in between at which it does not fire because of `gap` or `fold`.
    """

    name: str
    time_zone: str
    fires: list[FireMessage]
    left_out: list[FireMessage]

    @classmethod
    def of(cls, definition: NewSchedule, preview: Preview) -> PreviewMessage:
        """Return ``preview`` as it is sent."""
        zone = zone_of(definition.time_zone)

        def shown(fires: Sequence[Foreseen]) -> list[FireMessage]:
            return [
                FireMessage(fire.at, fire.at.astimezone(zone), fire.clocks, fire.note)
                for fire in fires
            ]

        return cls(
            definition.name, definition.time_zone, shown(preview.fires), shown(preview.left_out)
        )


SPANS: Final = (
    ("every_s", "every"),
    ("timeout_s", "timeout"),
    ("jitter_s", "jitter"),
    ("catch_up_window_s", "catch_up_window"),
)


def fields_of(message: Struct) -> dict[str, Any]:
    """Return what ``message`` gives of the fields of ``NewSchedule``, but for the name."""
    given = {
        name: value
        for name in message.__struct_fields__
        if (value := getattr(message, name)) is not UNSET
    }
    given.pop("name", None)
    if "payload" in given:
        given["payload_json"] = payload_of(given.pop("payload"))
    if "crons" in given:
        given["crons"] = tuple(given["crons"])
    for wire, name in SPANS:
        if wire in given:
            seconds: float | None = given.pop(wire)
            given[name] = None if seconds is None else timedelta(seconds=seconds)
    return given


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
