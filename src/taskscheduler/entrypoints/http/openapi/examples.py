"""What the OpenAPI document shows as the answer to each call."""

from __future__ import annotations

from typing import Any, Final

from litestar.openapi.spec import Example


class Shown(Example):
    """An example that keeps its nulls: the framework leaves them out."""

    def to_schema(self) -> dict[str, Any]:
        """Return what is written into the document."""
        return {"value": self.value}


TASK_ID: Final = "018e917e-2b5a-7000-8000-000000000000"
FIRST_ID: Final = "3f1c1f0e-2c5b-4c57-9d0b-1c7f4a2f9d11"
PARENT_ID: Final = "018e917e-1000-7000-8000-000000000000"
BATCH_ID: Final = "018e917e-2000-7000-8000-000000000000"
TAG: Final = '"0f343b0931126a20f133d67c2b018a3b"'
CREATED_AT: Final = "2024-03-30T23:17:05.112233Z"
EXECUTE_AT: Final = "2024-03-30T23:17:10.790146Z"
STARTED_AT: Final = "2024-03-30T23:17:10.791901Z"
FINISHED_AT: Final = "2024-03-30T23:17:13.795002Z"

WAKEUPS: Final = {
    "by": "postgres",
    "state": "connected",
    "since": CREATED_AT,
    "reason": None,
}

FOO: Final = {"kind": "Foo", "execute_at": EXECUTE_AT}
BAZ: Final = {
    "kind": "Baz",
    "payload": {"any": "JSON"},
    "queue": "default",
    "priority": 0,
    "group": "customer-7",
}
BATCH: Final = {"name": "import of March", "then": {"kind": "Baz", "when": "ended"}}
THEN: Final = {"kind": "Baz", "after": [FIRST_ID], "when": "succeeded", "otherwise": "cancel"}
EDIT: Final = {"execute_at": "2030-03-30T23:17:10.790146Z", "priority": 0}

LIMIT: Final = {"queue": "mail", "concurrency": 10, "rate": "100/s", "burst": 20}
NIGHTLY: Final = {"kind": "Baz", "cron": "0 3 * * *", "time_zone": "Europe/Berlin"}
SPAN: Final = {"from": "2024-03-28T00:00:00Z", "to": "2024-03-30T00:00:00Z"}

TASK: Final[dict[str, Any]] = {
    "id": TASK_ID,
    "kind": "Foo",
    "queue": "default",
    "group": None,
    "priority": 5,
    "status": "Failed",
    "execute_at": EXECUTE_AT,
    "process_at": EXECUTE_AT,
    "created_at": CREATED_AT,
    "started_at": STARTED_AT,
    "finished_at": FINISHED_AT,
    "attempt": 1,
    "max_attempts": 1,
    "timeout_s": None,
    "unique_key": None,
    "expires_at": None,
    "tags": ["letters"],
    "payload": None,
}
ATTEMPT: Final[dict[str, Any]] = {
    "number": 1,
    "started_at": STARTED_AT,
    "finished_at": FINISHED_AT,
    "outcome": "fail",
    "worker_id": 7,
    "error": {"type": "ValueError", "message": "no such address", "traceback": None},
}
SOME: Final = {"count": 12, "exact": True}
ANSWERS: Final[dict[str, Any]] = {
    "Stored": {"id": TASK_ID},
    "StoredMany": {"ids": [TASK_ID, "018e917e-2b5a-7000-8000-000000000001"]},
    "TaskMessage": TASK,
    "TaskWithAttempts": TASK
    | {
        "attempts": [ATTEMPT],
        "result": None,
        "progress": None,
        "after": [PARENT_ID],
        "when": "succeeded",
        "otherwise": "cancel",
        "batch": None,
    },
    "HeldByEarlier": {"id": TASK_ID, "created": False},
    "GoingOnMessage": {"status": "InProgress"},
    "EndingMessage": {"status": "Completed", "result": {"rows": 400}, "error": None},
    "AttemptMessage": ATTEMPT,
    "WhyMessage": {
        "id": TASK_ID,
        "status": "Pending",
        "reasons": [
            {
                "reason": "QueuePaused",
                "detail": "the queue 'default' is paused",
                "until": None,
                "since": CREATED_AT,
                "worker_id": None,
                "before": None,
                "left": None,
                "task_ids": [],
                "limit": None,
                "running": None,
                "group": None,
                "ahead": None,
            },
            {
                "reason": "WaitingFor",
                "detail": "it waits for 1 of 3 tasks to end",
                "until": None,
                "since": None,
                "worker_id": None,
                "before": None,
                "left": 1,
                "task_ids": [PARENT_ID],
                "limit": None,
                "running": None,
                "group": None,
                "ahead": None,
            },
        ],
    },
    "BulkMessage": {
        "looked_at": 1000,
        "changed": 1000,
        "waiting": 0,
        "cursor": f"Pending:{TASK_ID}",
    },
    "LimitMessage": {
        "name": "mail",
        "queue": "mail",
        "kind": None,
        "group": None,
        "per_group": False,
        "concurrency": 10,
        "rate": "100/s",
        "burst": 20,
        "weight": None,
        "running": 7,
        "waiting": 0,
        "next_at": None,
        "created_at": CREATED_AT,
        "changed_at": CREATED_AT,
    },
    "QueueMessage": {
        "name": "default",
        "paused": False,
        "paused_at": None,
        "due": SOME,
        "later": {"count": 10000, "exact": False},
        "in_progress": SOME,
        "oldest_due_at": EXECUTE_AT,
    },
    "ScheduleMessage": {
        "name": "nightly-report",
        "kind": "Baz",
        "queue": "default",
        "group": None,
        "priority": 5,
        "payload": None,
        "cron": "0 3 * * *",
        "every_s": None,
        "time_zone": "Europe/Berlin",
        "starts_at": None,
        "ends_at": None,
        "catch_up": "latest",
        "overlap": "allow",
        "crons": [],
        "gap": None,
        "fold": None,
        "jitter_s": None,
        "max_fires": None,
        "catch_up_window_s": None,
        "catch_up_max": None,
        "pause_after_failures": None,
        "rrule": None,
        "except": [],
        "tags": [],
        "fire_count": 17,
        "max_attempts": None,
        "timeout_s": None,
        "paused": False,
        "paused_at": None,
        "pause_reason": None,
        "next_fire_at": "2024-03-31T01:00:00Z",
        "last_fire_at": "2024-03-30T02:00:00Z",
        "last_task_id": TASK_ID,
        "created_at": CREATED_AT,
        "changed_at": CREATED_AT,
    },
    "PreviewMessage": {
        "name": "nightly-report",
        "time_zone": "Europe/Berlin",
        "fires": [
            {
                "at": "2024-03-31T01:00:00Z",
                "local": "2024-03-31T03:00:00+02:00",
                "clocks": None,
                "note": None,
            },
            {
                "at": "2024-04-01T01:00:00Z",
                "local": "2024-04-01T03:00:00+02:00",
                "clocks": None,
                "note": None,
            },
        ],
        "left_out": [],
    },
    "LedgerMessage": {
        "at": "2024-03-30T02:00:00Z",
        "outcome": "stored",
        "reason": None,
        "task_id": TASK_ID,
        "late_s": 0.012,
        "recorded_at": "2024-03-30T02:00:00.012Z",
    },
    "BackfilledMessage": {
        "looked_at": 2,
        "backfilled": 1,
        "present": 1,
        "next_from": None,
        "ids": [TASK_ID],
    },
    "Made": {"id": BATCH_ID},
    "BatchMessage": {
        "id": BATCH_ID,
        "name": "import of March",
        "created_at": CREATED_AT,
        "sealed_at": EXECUTE_AT,
        "ended_at": None,
        "total": 10000,
        "pending": 17,
        "completed": 9980,
        "failed": 2,
        "cancelled": 1,
        "then": {
            "id": TASK_ID,
            "kind": "Baz",
            "queue": "default",
            "status": "Pending",
            "when": "ended",
            "otherwise": "cancel",
        },
    },
    "WorkerMessage": {
        "id": 7,
        "name": "machine:4711",
        "host": "machine",
        "pid": 4711,
        "queues": ["default"],
        "kinds": ["Bar", "Baz", "Foo"],
        "concurrency": 50,
        "running": SOME,
        "alive": True,
        "started_at": CREATED_AT,
        "seen_at": FINISHED_AT,
        "lease_s": 30.0,
        "abandoned": 0,
    },
    "AuditMessage": {
        "id": 4711,
        "at": FINISHED_AT,
        "action": "cancelled",
        "actor": "shop",
        "key_id": "0f343b0931126a20",
        "address": "192.0.2.7",
        "request_id": None,
        "task_id": TASK_ID,
        "target": None,
    },
    "Health": {"status": "ok", "detail": None},
    "WakeUpsMessage": WAKEUPS,
    "Readiness": {
        "status": "ok",
        "detail": None,
        "schema": {"found": 5, "expected": 5},
        "wakeups": WAKEUPS,
    },
}
"""By the name of the answer's type."""

EVENTS: Final = f"""\
: watching

id: {FINISHED_AT}
event: task
data: {{"id":"{TASK_ID}","kind":"Foo","queue":"default","status":"Failed","attempt":1,\
"process_at":"{EXECUTE_AT}","started_at":"{STARTED_AT}","finished_at":"{FINISHED_AT}"}}

"""

NOT_READY: Final = {
    "status": "unavailable",
    "detail": "the database cannot be reached at present",
    "schema": None,
    "wakeups": WAKEUPS,
}
