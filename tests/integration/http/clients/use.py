"""Uses a live service through a client that was generated from the service's own document."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from task_client import Client
from task_client.api.queues import pause_queue, resume_queue
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
    EditTaskTaskEditMessage,
    Problem,
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
    gone = delete_tasks.sync(client=client, filter_=[f"queue:{queue}"])
    assert (gone.changed, gone.cursor) == (3, None)
    assert get_task.sync_detailed(task_id, client=client).status_code == 404
print("all is as it should be")
