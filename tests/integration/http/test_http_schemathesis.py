"""What the service says of itself in its OpenAPI document is what it does."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS  # pyright: ignore[reportUnknownVariableType]

from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.testing import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case, HookContext

ANSWER_S: Final = 10

SCHEDULES: Final = (
    ("/schedules", "post"),
    ("/schedules/{name}", "put"),
    ("/schedules/{name}", "patch"),
)

ONLY_WITH_OTHERS: Final = ("after", "when", "otherwise", "batch", "on_conflict", "max_delay_s")
"""Fields of a task that go with others, or with what is there."""

# The document is known before any service runs, so that each operation is a test of its own.
DOCUMENT: Final = create_app(in_memory()).openapi_schema.to_schema()


def with_what_depends_on_the_deployment(document: dict[str, Any]) -> dict[str, Any]:
    """Return ``document`` with what no document can say.

    That is the kinds for which workers are there, what is a cron expression and a time zone, what
    is in the future, what goes with what, and that one of two parameters is needed.
    """
    document = deepcopy(document)
    store, batch = (
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for path in ("/tasks", "/tasks/batch")
    )
    put = document["paths"]["/tasks"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    for task in (store, put, batch["items"]):
        task["properties"]["kind"] = {"enum": ["Baz"]}
        for name in ONLY_WITH_OTHERS:
            task["properties"].pop(name, None)  # they may be one object
        # In the future, and after every execute_at that the document lets through.
        task["properties"]["expires_at"] = {"enum": ["9000-01-01T00:00:00Z", None]}
    for path, method in SCHEDULES:
        call = document["paths"][path][method]
        body = call["requestBody"]["content"]["application/json"]["schema"]
        body["properties"].update(
            kind={"enum": ["Baz"]},
            cron={"enum": ["0 3 * * *", "@daily"]},
            crons={"enum": [["0 3 * * *"], ["@daily", "0 4 * * *"]]},
            time_zone={"enum": ["UTC", "Europe/Berlin"]},
            starts_at={"enum": ["2093-01-01T00:00:00Z", None]},
            ends_at={"enum": ["2094-01-01T00:00:00Z", None]},
            overlap={"enum": ["allow"]},
            catch_up={"enum": ["all"]},
            **{"except": {"enum": [[], ["2093-12-25"]]}},
            gap={"enum": [None]},
            fold={"enum": [None]},
        )
        del body["properties"]["rrule"]  # it stands in the place of cron
        if method == "put":
            del body["properties"]["name"]  # it must be the one in the path
    body = document["paths"]["/batches"]["post"]["requestBody"]["content"]["application/json"]
    body["schema"]["properties"]["then"] = {"enum": [None, {"kind": "Baz"}]}
    del document["paths"]["/events"]  # it goes on for ever
    del document["paths"]["/schedules/{name}/backfill"]  # one time is before the other
    del document["paths"]["/limits/{name}"]  # its fields go with one another: test_http_limits.py
    for path in ("/tasks", "/tasks/cancel", "/tasks/retry", "/tasks/delete"):
        call = document["paths"][path]["get" if path == "/tasks" else "post"]
        (filters,) = (each for each in call["parameters"] if each["name"] == "filter")
        items = filters["schema"]["items"]
        items["pattern"] = items["pattern"].replace("(kind|queue|tag):", "(queue|tag):")
        if path != "/tasks":
            filters["required"] = True
            filters["schema"]["minItems"] = 1
    return document


schema = schemathesis.openapi.from_dict(with_what_depends_on_the_deployment(DOCUMENT))


@schema.hook
def map_body(_: HookContext, body: Any) -> Any:
    """Write 7.0 as 7 where an integer belongs: JSON Schema calls both integers, the service one."""
    tasks = cast("list[Any]", body if isinstance(body, list) else [body])
    for task in tasks:
        for name in (
            "priority",
            "max_attempts",
            "max_fires",
            "catch_up_max",
            "pause_after_failures",
            "concurrency",
        ):
            if isinstance(task, dict):
                fields = cast("dict[str, Any]", task)
                if isinstance(value := fields.get(name), float) and value.is_integer():
                    fields[name] = int(value)
    return tasks if isinstance(body, list) else body


@pytest.fixture(scope="module", autouse=True)
def nothing_fires_afterwards(service: str) -> Iterator[None]:
    """Delete the schedules that were made here: some fire each second, into others' queues."""
    yield
    while schedules := httpx.get(f"{service}/schedules").json():
        for each in schedules:
            name = each["name"].replace(".", "%2E")  # or httpx would make nothing of a lone dot
            httpx.delete(f"{service}/schedules/{name}").raise_for_status()


def test_the_running_service_describes_itself_so(service: str):
    assert httpx.get(f"{service}/schema/openapi.json").json() == DOCUMENT


@schema.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator]
@settings(
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_keeps_to_its_description(case: Case[Any], service: str):
    """By every check there is; an answer that is not documented is one of them."""
    assert "status_code_conformance" in CHECKS.get_all_names()
    case.call_and_validate(base_url=service, timeout=ANSWER_S)
