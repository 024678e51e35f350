"""Rows into schedules, and back."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

from taskscheduler.adapters.postgres.fires import FITTING
from taskscheduler.adapters.postgres.mapping import utc
from taskscheduler.adapters.postgres.schedule_options import options_of, text_of_options
from taskscheduler.domain.errors import InvalidTask, ScheduleUnread
from taskscheduler.domain.policies import CatchUp, Overlap
from taskscheduler.domain.schedule import NewSchedule, Schedule

COLUMNS: Final = """
    name, revision, kind, cron, CASE WHEN fits THEN every END, time_zone, payload::text, queue,
    priority, max_attempts, CASE WHEN fits THEN timeout END, CASE WHEN fits THEN starts_at END,
    CASE WHEN fits THEN ends_at END, catch_up, overlap, CASE WHEN fits THEN created_at END,
    CASE WHEN fits THEN changed_at END, CASE WHEN fits THEN ruled_at END,
    CASE WHEN fits THEN paused_at END, CASE WHEN fits THEN next_fire_at END,
    CASE WHEN fits THEN last_fire_at END, last_task_id, zone_data, problem,
    options::text, max_fires, fire_count, pause_reason"""
GET: Final = (
    "SELECT "  # noqa: S608 - constants only
    + COLUMNS
    + " FROM {schema}.schedule, "
    + FITTING
    + " WHERE name = %(name)s"
)


def values_of(schedule: Schedule) -> dict[str, Any]:
    """Return the parameters that write ``schedule``."""
    definition = schedule.definition
    return {
        "name": definition.name,
        "revision": schedule.revision,
        "kind": definition.kind,
        "cron": definition.cron,
        "every": definition.every,
        "time_zone": definition.time_zone,
        "payload": definition.payload_json.decode(),
        "queue": definition.queue,
        "priority": definition.priority,
        "max_attempts": definition.max_attempts,
        "timeout": definition.timeout,
        "starts_at": definition.starts_at,
        "ends_at": definition.ends_at,
        "catch_up": definition.catch_up.value,
        "overlap": definition.overlap.value,
        "created_at": schedule.created_at,
        "changed_at": schedule.changed_at,
        "ruled_at": schedule.ruled_at,
        "paused_at": schedule.paused_at,
        "next_fire_at": schedule.next_fire_at,
        "last_fire_at": schedule.last_fire_at,
        "last_task_id": schedule.last_task_id,
        "zone_data": schedule.zone_data,
        "problem": schedule.problem,
        "options": text_of_options(definition),
        "max_fires": definition.max_fires,
        "fire_count": schedule.fire_count,
        "pause_reason": schedule.pause_reason,
    }


def schedule_of(row: tuple[Any, ...]) -> Schedule:
    """Return the schedule of a row of ``COLUMNS``. Raises ScheduleUnread."""
    try:
        definition = NewSchedule(
            name=row[0],
            kind=row[2],
            cron=row[3],
            every=row[4],
            time_zone=row[5],
            payload_json=row[6].encode(),
            queue=row[7],
            priority=row[8],
            max_attempts=row[9],
            timeout=row[10],
            starts_at=utc(row[11]),
            ends_at=utc(row[12]),
            catch_up=CatchUp(row[13]),
            overlap=Overlap(row[14]),
            **options_of(row[24]).fields(),
            max_fires=row[25],
        )
        if row[15] is None:
            raise ScheduleUnread(row[0], "it has a time that is out of range")
    except (ValueError, InvalidTask) as error:
        raise ScheduleUnread(row[0], str(error)) from None
    return Schedule(
        definition=definition,
        revision=row[1],
        created_at=row[15].astimezone(UTC),
        changed_at=row[16].astimezone(UTC),
        ruled_at=row[17].astimezone(UTC),
        paused_at=utc(row[18]),
        next_fire_at=utc(row[19]),
        last_fire_at=utc(row[20]),
        last_task_id=row[21],
        zone_data=row[22],
        problem=row[23],
        fire_count=row[26],
        pause_reason=row[27],
    )
