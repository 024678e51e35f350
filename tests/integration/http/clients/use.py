"""Uses a live service through a client that was generated from the service's own document."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from task_client import Client
from task_client.api.queues import pause_queue, resume_queue
from task_client.api.schedules import (
    delete_schedule,
    edit_schedule,
    get_schedule,
    list_schedules,
    make_schedule,
    pause_schedule,
    preview_schedule,
    put_schedule,
    resume_schedule,
    trigger_schedule,
)
from task_client.api.tasks import (
    cancel_task,
    delete_tasks,
    edit_task,
    get_task,
    list_tasks,
    store_task,
    store_tasks,
    why_task,
)
from task_client.api.workers import list_workers
from task_client.models import (
    CatchUp,
    EditScheduleScheduleEditMessage,
    EditTaskTaskEditMessage,
    MakeScheduleNewScheduleMessage,
    Problem,
    PutSchedulePutScheduleMessage,
    Reason,
    StoreTaskNewTaskMessage,
    StoreTasksNewTaskMessage,
    TaskStatus,
)

address, queue = sys.argv[1:]
AT = datetime(2093, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)

with Client(address) as client:
    new = StoreTaskNewTaskMessage(kind="Baz", queue=queue, execute_at=AT, payload={"a": [None]})
    task_id = str(store_task.sync(client=client, body=new).id)
    task = get_task.sync(task_id, client=client)
    assert (task.status, task.execute_at, task.payload) == (TaskStatus.PENDING, AT, {"a": [None]})
    many = [
        StoreTasksNewTaskMessage(kind="Baz", queue=queue, execute_at=AT),
        StoreTasksNewTaskMessage(kind="Foo", queue=queue),
    ]
    assert len(store_tasks.sync(client=client, body=many).ids) == 2
    listed = list_tasks.sync(client=client, filter_=[f"queue:{queue}", "kind:Baz"])
    assert len(listed) == 2
    edit = EditTaskTaskEditMessage(priority=0)
    assert edit_task.sync(task_id, client=client, body=edit).priority == 0
    assert why_task.sync(task_id, client=client).reasons[0].reason is Reason.NOTDUE
    assert cancel_task.sync(task_id, client=client).status is TaskStatus.CANCELLED
    assert pause_queue.sync(queue, client=client).paused is True
    assert resume_queue.sync(queue, client=client).due.count == 1
    assert any("Baz" in worker.kinds for worker in list_workers.sync(client=client))
    refused = cancel_task.sync(task_id, client=client)
    assert isinstance(refused, Problem)
    assert (refused.status, refused.type_) == (409, "urn:taskscheduler:problem:conflict")
    name = f"{queue}.nightly"
    nightly = PutSchedulePutScheduleMessage(
        kind="Baz", cron="0 3 * * *", time_zone="Europe/Berlin", queue=queue, starts_at=AT
    )
    schedule = put_schedule.sync(name, client=client, body=nightly)
    assert (schedule.cron, schedule.every_s, schedule.catch_up) == (
        "0 3 * * *",
        None,
        CatchUp.LATEST,
    )
    assert put_schedule.sync_detailed(name, client=client, body=nightly).status_code == 200
    other = MakeScheduleNewScheduleMessage(name=name, kind="Baz", every_s=60)
    assert make_schedule.sync(client=client, body=other).status == 409
    edit = EditScheduleScheduleEditMessage(every_s=3600, starts_at=None)
    assert pause_schedule.sync(name, client=client).next_fire_at is None
    changed = edit_schedule.sync(name, client=client, body=edit)
    assert (changed.cron, changed.every_s, changed.starts_at) == (None, 3600, None)
    first, second = preview_schedule.sync(name, client=client, n=2).fires
    assert (second.at - first.at).total_seconds() == 3600
    assert first.local == first.at
    again = edit_schedule.sync(
        name, client=client, body=EditScheduleScheduleEditMessage(priority=0)
    )
    assert (again.priority, again.paused, again.every_s) == (0, True, 3600)
    assert resume_schedule.sync(name, client=client).next_fire_at is not None
    triggered = trigger_schedule.sync(name, client=client)
    assert get_task.sync(str(triggered.id), client=client).queue == queue
    assert name in [each.name for each in list_schedules.sync(client=client, limit=1000)]
    assert delete_schedule.sync_detailed(name, client=client).status_code == 204
    assert get_schedule.sync(name, client=client).status == 404
    gone = delete_tasks.sync(client=client, filter_=[f"queue:{queue}"])
    assert (gone.changed, gone.cursor) == (4, None)
    assert get_task.sync_detailed(task_id, client=client).status_code == 404
print("all is as it should be")
