"""The service itself: its health, its documentation, its options, and life without a database."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from taskscheduler.adapters.embedded import EmbeddedPostgres
from tests.integration.http.answers import fault, get, listed, problem, put, until
from tests.integration.processes import Programs, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "correct-horse"  # noqa: S105 - nobody's


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_says_that_all_is_well(client: httpx.Client, path: str):
    answer = client.get(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_its_description_is_valid_openapi_3_1(client: httpx.Client):
    answer = client.get("/schema/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()
    assert {"/tasks", "/tasks/batch", "/tasks/{task_id}", "/healthz"} <= document["paths"].keys()
    for path in ("/tasks", "/tasks/batch"):
        for method in document["paths"][path].keys() & {"put", "post"}:
            content = document["paths"][path][method]["requestBody"]["content"]
            assert content["application/json"]["examples"]


def test_the_examples_of_its_description_are_accepted(client: httpx.Client):
    document = client.get("/schema/openapi.json").json()
    for path in ("/tasks", "/tasks/batch"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            assert client.post(path, json=example["value"]).status_code == 201


@pytest.mark.parametrize("path", ["/schema", "/schema/swagger", "/schema/scalar"])
def test_its_documentation_is_there_to_read(client: httpx.Client, path: str):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "taskscheduler" in answer.text


def test_producers_may_go_first_where_that_is_allowed(programs: Programs, queue: str):
    api = programs.start("api", "--port", "0", "--accept-unknown-kinds")
    with httpx.Client(base_url=api.address()) as client:
        task_id = put(client, kind="Tomorrow", queue=queue)
        answer = client.post("/tasks/batch", json=[{"kind": "Next.week", "queue": queue}])
        assert answer.status_code == 201
        assert get(client, task_id)["kind"] == "Tomorrow"
        assert [task["id"] for task in listed(client, "kind:Tomorrow")] == [task_id]
        fault(client.put("/tasks", json={"kind": "Fo o"}), "$.kind")
        for task in listed(client, f"queue:{queue}"):
            assert client.delete(f"/tasks/{task['id']}").status_code == 204
    api.stop()


def test_the_largest_body_can_be_chosen(programs: Programs, queue: str):
    api = programs.start("api", "--port", "0", "--body-bytes-max", "2048")
    with httpx.Client(base_url=api.address()) as client:
        task = {"kind": "Baz", "queue": queue}
        eventually(lambda: client.put("/tasks", json=task).status_code == 201, "its kinds")
        problem(client.put("/tasks", json=task | {"payload": "x" * 2048}), 413)
    api.stop()


def test_any_number_of_services_share_the_tasks(programs: Programs, service: str, queue: str):
    api = programs.start("api", "--port", "0")
    with httpx.Client(base_url=api.address()) as one, httpx.Client(base_url=service) as other:
        assert get(other, put(one, kind="Baz", queue=queue))["kind"] == "Baz"
        assert len(listed(one, f"queue:{queue}")) == 1
    api.stop()


CALLS = (
    ("PUT", "/tasks", {"kind": "Baz"}),
    ("POST", "/tasks/batch", [{"kind": "Baz"}]),
    ("GET", "/tasks", None),
    ("GET", "/tasks?filter=kind:Baz", None),
    ("GET", "/tasks/018e917e-0000-7000-8000-000000000000", None),
    ("DELETE", "/tasks/018e917e-0000-7000-8000-000000000000", None),
    ("POST", "/tasks/018e917e-0000-7000-8000-000000000000/cancel", None),
)


def unavailable(client: httpx.Client) -> None:
    """Check that every call asks to be tried again, and tells nobody's secrets."""

    def call(method: str, path: str, body: Any) -> httpx.Response:
        return client.request(method, path, json=body)

    with ThreadPoolExecutor(len(CALLS)) as threads:
        for answer in [threads.submit(call, *each) for each in CALLS]:
            body = problem(answer.result(), 503)
            assert int(answer.result().headers["retry-after"]) > 0
            assert SECRET not in body["detail"]
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    problem(client.put("/tasks", json={"kind": 7}), 400)
    problem(client.get("/nothing"), 404)


def works(client: httpx.Client) -> None:
    """Wait until the service takes a task, and a worker has run it."""
    eventually(lambda: client.get("/readyz").status_code == 200, "ready")
    task = {"kind": "Baz", "payload": 1}
    eventually(lambda: client.put("/tasks", json=task).status_code == 201, "its kinds")
    until(client, put(client, **task), "Completed")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Give a database that the test may stop and start."""
    with EmbeddedPostgres(tmp_path / "postgres") as postgres:
        yield postgres


def test_waits_for_a_database_and_for_its_schema(tmp_path: Path, postgres: EmbeddedPostgres):
    url = f"{postgres.url}&password={SECRET}"
    with Programs(tmp_path, DATABASE_URL=url) as programs:
        postgres.stop()
        api = programs.start("api", "--port", "0")
        with httpx.Client(base_url=api.address(), timeout=60) as client:
            unavailable(client)
            postgres.start()
            hint = "taskscheduler migrate"
            eventually(lambda: hint in client.get("/tasks").json()["detail"], "what is missing")
            problem(client.get("/tasks"), 503)
            programs.good("migrate")
            task = {"kind": "Baz"}
            eventually(lambda: client.put("/tasks", json=task).status_code == 201, "its kinds")
            worker = programs.start("worker")
            works(client)
        worker.stop()
        api.stop()
        assert SECRET not in api.err.read_text()


def test_heals_when_the_database_comes_back(tmp_path: Path, postgres: EmbeddedPostgres):
    with Programs(tmp_path, DATABASE_URL=postgres.url) as programs:
        programs.good("migrate")
        api = programs.start("api", "--port", "0")
        worker = programs.start("worker", "--lease", "2")
        with httpx.Client(base_url=api.address(), timeout=60) as client:
            works(client)
            task_id = put(client, kind="Foo")
            until(client, task_id, "InProgress")
            postgres.stop()
            unavailable(client)
            postgres.start()
            works(client)
            until(client, task_id, "Completed")
        worker.stop()
        api.stop()


def test_tests_need_no_port_that_somebody_else_may_have(programs: Programs):
    with suppress(OSError), socket.create_server(("127.0.0.1", 3000)):
        programs.refused("api", code=2, TASKSCHEDULER_PORT="3000")
        programs.start("api").address()


@pytest.mark.parametrize("command", ["api", "worker"])
def test_without_a_schema_there_is_nothing_to_serve(programs: Programs, command: str):
    missing = programs.env["TASKSCHEDULER_SCHEMA"] + "_not"
    said = programs.refused(command, code=1, TASKSCHEDULER_SCHEMA=missing)
    assert "taskscheduler migrate" in said
