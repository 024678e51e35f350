"""Tracing across processes: what a receiver of OTLP gets, and what becomes of work without one."""

from __future__ import annotations

import gzip
import os
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import uuid4

import httpx
import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from psycopg import sql

from tests.integration.processes import JOBS, Program, Programs, eventually

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID: Final = "b7ad6b7169203331"
PARENT: Final = f"00-{TRACE_ID}-{SPAN_ID}-01"
WORKER: Final = ("worker", "--app", "tracing_jobs:handlers")
SHUTDOWN_S: Final = 12.0
"""Three seconds for the last spans, and room for a busy machine."""

TRACING_JOBS: Final = (
    JOBS
    + '''

@handlers.register("Outwards")
async def outwards(context):
    """Do what a library does that is traced for itself, and log a line."""
    import logging
    from opentelemetry import trace

    with trace.get_tracer("theirs").start_as_current_span("call elsewhere"):
        logging.getLogger("theirs").warning("calling")


@handlers.register("Loaded")
async def loaded(context):
    import sys

    parts = ("opentelemetry.sdk", "opentelemetry.exporter", "taskscheduler.adapters.otel")
    print("Loaded", [part for part in parts if part in sys.modules], flush=True)
'''
)


class Seen(NamedTuple):
    """A span as it was received."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    facts: dict[str, Any]
    failed: bool
    events: tuple[str, ...]


class Receiver(ThreadingHTTPServer):
    """What listens where OpenTelemetry's collector would."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.spans: list[Seen] = []
        self.hold = threading.Event()
        self.hold.set()
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Seen:
        (found,) = self.named(name)
        return found


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = cast("Receiver", self.server)
        receiver.asked += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        receiver.hold.wait(60)
        assert self.path == "/v1/traces"
        receiver.spans += seen(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Say nothing."""


def seen(request: Any) -> list[Seen]:
    found: list[Seen] = []
    for resource in request.resource_spans:
        named = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            found += [
                Seen(
                    named["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    {f.key: f.value.string_value or f.value.int_value for f in span.attributes},
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    tuple(event.name for event in span.events),
                )
                for span in scope.spans
            ]
    return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        serving = threading.Thread(target=receiver.serve_forever)
        serving.start()
        yield receiver
        receiver.hold.set()
        receiver.shutdown()
        serving.join()


@pytest.fixture
def programs(postgres_url: str, tmp_path: Path, receiver: Receiver) -> Iterator[Programs]:
    """Programs on a schema of their own, whose spans would go to ``receiver``."""
    schema = f"test_{uuid4().hex[:16]}"
    chosen = {
        "DATABASE_URL": postgres_url,
        "TASKSCHEDULER_SCHEMA": schema,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with Programs(tmp_path, **chosen) as programs:
        programs.write("tracing_jobs.py", TRACING_JOBS)
        programs.good("migrate")
        yield programs
    drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema))
    options = "-c lock_timeout=10s -c client_min_messages=warning"
    with psycopg.connect(postgres_url, autocommit=True, options=options) as connection:
        connection.execute(drop)


@contextmanager
def served(programs: Programs, *options: str) -> Generator[tuple[httpx.Client, Program, Program]]:
    """Run the service and a worker; see both end in order."""
    accepting = ("--accept-unknown-kinds", "--port", "0")
    api = programs.start("api", *accepting, *options)
    worker = programs.start(*WORKER, *options)
    with httpx.Client(base_url=api.address(), timeout=30) as client:
        yield client, api, worker
    for program in (worker, api):
        program.process.terminate()
    for program in (worker, api):
        program.ends(seconds=SHUTDOWN_S)


def put(client: httpx.Client, kind: str, **headers: str) -> str:
    answer = client.put("/tasks", json={"kind": kind}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def ends(client: httpx.Client, task_id: str, status: str = "Completed") -> None:
    eventually(lambda: client.get(f"/tasks/{task_id}").json()["status"] == status, status)


def stored_traces(programs: Programs) -> dict[str, str | None]:
    query = sql.SQL("SELECT id::text, traceparent FROM {}.task").format(
        sql.Identifier(programs.env["TASKSCHEDULER_SCHEMA"])
    )
    with psycopg.connect(programs.env["DATABASE_URL"]) as connection:
        return dict(connection.execute(query).fetchall())


def test_one_trace_leads_from_the_request_to_the_handler(
    programs: Programs, receiver: Receiver
) -> None:
    with served(programs, "--tracing", "otlp") as (client, api, worker):
        task_id = put(client, "Outwards", traceparent=PARENT, tracestate="vendor=1")
        ends(client, task_id)
    request, stored = receiver.one("PUT /tasks"), receiver.one("schedule Outwards")
    ran, elsewhere = receiver.one("process Outwards"), receiver.one("call elsewhere")
    assert {span.trace_id for span in (request, stored, ran, elsewhere)} == {TRACE_ID}
    assert request.parent_id == SPAN_ID
    assert stored.parent_id == request.span_id
    assert stored_traces(programs) == {task_id: f"00-{TRACE_ID}-{stored.span_id}-01"}
    assert ran.parent_id == stored.span_id
    assert ran.links == ((TRACE_ID, stored.span_id),)
    assert elsewhere.parent_id == ran.span_id
    assert [span.service for span in (request, stored, ran, elsewhere)] == [
        "taskscheduler-api",
        "taskscheduler-api",
        "taskscheduler-worker",
        "taskscheduler-worker",
    ]
    assert ran.facts["messaging.message.id"] == stored.facts["messaging.message.id"] == task_id
    assert ran.facts["messaging.destination.name"] == "default"
    lines = [line for line in worker.err.read_text().splitlines() if '"calling"' in line]
    assert len(lines) == 1
    assert f'"trace_id": "{TRACE_ID}"' in lines[0]
    assert f'"span_id": "{elsewhere.span_id}"' in lines[0]
    (told,) = [line for line in api.err.read_text().splitlines() if "PUT /tasks answered" in line]
    assert f'"span_id": "{request.span_id}"' in told


def test_every_attempt_and_every_task_of_a_batch_is_in_the_trace(
    programs: Programs, receiver: Receiver
) -> None:
    with served(programs, "--tracing", "otlp") as (client, _, _):
        failing = put(client, "Raise", traceparent=PARENT)
        batch = client.post(
            "/tasks/batch",
            json=[{"kind": "Quick"}] * 20,
            headers={"traceparent": PARENT, "Idempotency-Key": "once"},
        ).json()["ids"]
        ends(client, failing, "Failed")
        for task_id in batch:
            ends(client, task_id)
    attempts = receiver.named("process Raise")
    assert [span.facts["taskscheduler.task.attempt"] for span in attempts] == [1, 2, 3]
    outcomes = [span.facts["taskscheduler.task.outcome"] for span in attempts]
    assert outcomes == ["retry", "retry", "fail"]
    assert {span.parent_id for span in attempts} == {receiver.one("schedule Raise").span_id}
    assert all(span.failed and span.events == ("exception",) for span in attempts)
    together = receiver.one("schedule Quick")
    assert together.facts["messaging.batch.message_count"] == 20
    ran = receiver.named("process Quick")
    assert {span.facts["messaging.message.id"] for span in ran} == set(batch)
    assert {(span.trace_id, span.parent_id) for span in ran} == {(TRACE_ID, together.span_id)}


def test_a_malformed_context_is_ignored(programs: Programs, receiver: Receiver) -> None:
    with served(programs, "--tracing", "otlp") as (client, _, _):
        for garbage in ("garbage", "00-" + "0" * 32 + "-" + SPAN_ID + "-01", "x" * 4000):
            ends(client, put(client, "Quick", traceparent=garbage, tracestate="=,="))
    requests = receiver.named("PUT /tasks")
    assert [span.parent_id for span in requests] == [""] * 3
    ran = receiver.named("process Quick")
    assert {span.trace_id for span in ran} == {span.trace_id for span in requests}


def test_off_nothing_is_stored_sent_or_loaded(programs: Programs, receiver: Receiver) -> None:
    with served(programs) as (client, _, worker):
        task_id = put(client, "Loaded", traceparent=PARENT)
        ends(client, task_id)
        assert worker.lines("Loaded") == ["Loaded []"]
    assert stored_traces(programs) == {task_id: None}
    assert receiver.asked == 0


def test_what_others_wrote_into_the_column_is_passed_over(
    programs: Programs, receiver: Receiver
) -> None:
    programs.good("tasks", "add", "Quick", "--accept-unknown-kinds")
    programs.good("tasks", "add", "Quick", "--accept-unknown-kinds")
    spoil = sql.SQL("UPDATE {}.task SET traceparent = %s WHERE id = %s::uuid").format(
        sql.Identifier(programs.env["TASKSCHEDULER_SCHEMA"])
    )
    first, second = stored_traces(programs)
    with psycopg.connect(programs.env["DATABASE_URL"]) as connection:
        connection.execute(spoil, ["garbage", first])
        connection.execute(spoil, [PARENT, second])
    programs.good(*WORKER, "--tracing", "otlp", "--drain")
    parents = sorted(span.parent_id for span in receiver.named("process Quick"))
    assert parents == ["", SPAN_ID]


@pytest.mark.parametrize("how", ["hangs", "is away"])
def test_nobody_waits_for_a_receiver(programs: Programs, receiver: Receiver, how: str) -> None:
    if how == "hangs":
        receiver.hold.clear()
    else:
        programs.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
        programs.env["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    programs.env["OTEL_BSP_MAX_QUEUE_SIZE"] = programs.env["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] = "8"
    with served(programs, "--tracing", "otlp") as (client, api, worker):
        body = [{"kind": "Quick"}] * 200
        ids = client.post("/tasks/batch", json=body).json()["ids"]
        for task_id in ids:
            ends(client, task_id)
        if how == "is away":
            worker.says("spans are not taken by their receiver")
        began_s = time.monotonic()
    assert time.monotonic() - began_s < SHUTDOWN_S
    assert receiver.spans == []
    for program in (api, worker):
        lines = program.err.read_text().splitlines()
        assert not [line for line in lines if "opentelemetry" in line], program.story()
        assert len([line for line in lines if "taskscheduler.tracing" in line]) <= 2


def test_each_of_several_processes_traces(programs: Programs, receiver: Receiver) -> None:
    worker = programs.start(*WORKER, "--processes", "2", "--tracing", "otlp")
    programs.good("tasks", "add", "Quick", "--accept-unknown-kinds")
    eventually(lambda: receiver.named("process Quick"), "a span of a child")
    worker.stop()
    assert receiver.one("process Quick").parent_id == ""


def test_without_the_extra_it_is_named_in_one_line(programs: Programs) -> None:
    (programs.folder / "opentelemetry").mkdir()
    programs.write("opentelemetry/__init__.py", "raise ModuleNotFoundError('not installed')")
    paths = [str(programs.folder), os.environ.get("PYTHONPATH", "")]
    programs.env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    for command in (("api", "--port", "0"), WORKER, (*WORKER, "--processes", "2")):
        line = programs.refused(*command, "--tracing", "otlp")
        assert "pip install 'durable-taskscheduler[otel]'" in line
    assert "off" in programs.refused("worker", "--tracing", "everything")
