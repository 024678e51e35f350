"""The OpenAPI document shows an example of every call, every answer and every error."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest

from taskscheduler.application.client.api_keys import KeyAuthenticator
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.middleware.access import Access
from taskscheduler.testing import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS: Final = {"get", "put", "post", "patch", "delete"}


def document(*, closed: bool) -> dict[str, Any]:
    scheduler = in_memory()
    gate = KeyAuthenticator(scheduler.store.keys, scheduler.store.clock)
    access = Access(gate=gate) if closed else None
    return create_app(scheduler, access=access).openapi_schema.to_schema()


DOCUMENTS: Final = {"open": document(closed=False), "closed": document(closed=True)}
CLOSED: Final = DOCUMENTS["closed"]


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, document in DOCUMENTS.items():
        for path, calls in document["paths"].items():
            for method in calls.keys() & METHODS:
                yield f"{name}: {method.upper()} {path}", calls[method]


OPERATIONS: Final = dict(sorted(operations()))
OPEN_TO_ALL: Final = {"closed: GET /healthz", "closed: GET /readyz"}


def check_value(value: Any, schema: dict[str, Any]) -> None:
    whole = schema | {"components": CLOSED["components"]}
    jsonschema.validate(value, whole, jsonschema.Draft202012Validator)


def check(content: dict[str, Any], where: str) -> list[Any]:
    """See that all of ``content`` has examples that are what its schema says; return them."""
    values: list[Any] = []
    for media in content.values():
        assert media.get("examples"), f"no example: {where}"
        for example in media["examples"].values():
            check_value(example["value"], media["schema"])
            values.append(example["value"])
    return values


@pytest.mark.parametrize("call", OPERATIONS)
def test_a_call_is_described_and_shown(call: str):
    operation = OPERATIONS[call]
    assert operation["summary"]
    assert operation["description"]
    if "requestBody" in operation:
        assert check(operation["requestBody"]["content"], call)
    good = [status for status in operation["responses"] if status.startswith("2")]
    several = {
        "PUT /schedules/{name}": ["200", "201"],
        "PUT /tasks": ["201", "200"],
        "POST /tasks": ["201", "200"],
        "PUT /limits/{name}": ["200", "201"],
        "GET /tasks/{task_id}/result": ["200", "202"],
    }
    assert good == several.get(call.partition(": ")[2], good[:1])
    for status in good:
        content = operation["responses"][status].get("content", {})
        assert bool(content) == (status != "204"), call
        check(content, f"{call} {status}")


def errors_of(call: str) -> dict[int, dict[str, Any]]:
    """Return what ``call`` may be refused with, by status."""
    responses = OPERATIONS[call]["responses"]
    return {int(status): each for status, each in responses.items() if not status.startswith("2")}


@pytest.mark.parametrize("call", OPERATIONS)
def test_an_error_is_shown_as_it_is_sent(call: str):
    for status, answer in errors_of(call).items():
        assert answer["description"]
        values = check(answer["content"], f"{call} {status}")
        assert values
        if call.endswith("/readyz") and status == 503:
            assert list(answer["content"]) == ["application/json"], "it tells, and refuses nothing"
            continue
        assert list(answer["content"]) == ["application/problem+json"]
        for example in values:
            name = HTTPStatus(status).name.lower().replace("_", "-")
            assert example["status"] == status
            assert example["title"] == HTTPStatus(status).phrase
            assert example["type"] == f"urn:taskscheduler:problem:{name}"
            assert (status == 400) == ("errors" in example) or status == 413


@pytest.mark.parametrize("call", OPERATIONS)
def test_every_error_that_is_everywhere_is_told_everywhere(call: str):
    errors = errors_of(call).keys()
    if not call.endswith("/healthz"):
        assert 503 in errors
    if "{" in call:
        assert 400 in errors
    if call in OPEN_TO_ALL:
        assert not errors & {401, 403, 429}
        assert "security" not in OPERATIONS[call]
    elif call.startswith("closed: "):
        assert errors >= {400, 401, 403, 429}
        assert OPERATIONS[call]["security"] == [{"key": []}]
    else:
        assert 403 in errors, "that is for pages of others"
        assert not errors & {401, 429}
        assert "security" not in OPERATIONS[call]


@pytest.mark.parametrize("call", OPERATIONS)
def test_an_error_that_comes_with_a_header_says_so(call: str):
    for status, answer in errors_of(call).items():
        headers = answer.get("headers", {})
        expected = {401: "WWW-Authenticate", 403: "WWW-Authenticate"}
        expected |= dict.fromkeys((429, 503), "Retry-After")
        assert list(headers) == [expected[status]] if status in expected else not headers
        for header in headers.values():
            assert header["required"] == (status != 403)
            check_value(header["example"], header["schema"])


def test_examples_of_parameters_are_what_is_asked_for():
    shown = [
        (parameter["example"], parameter["schema"])
        for operation in OPERATIONS.values()
        for parameter in operation.get("parameters", ())
        if "example" in parameter
    ]
    assert shown
    for example, schema in shown:
        check_value(example, schema)


def test_only_a_service_that_asks_for_keys_describes_them():
    assert "securitySchemes" not in DOCUMENTS["open"].get("components", {})
    assert CLOSED["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert {"security"}.isdisjoint(CLOSED), "some calls need none"


def test_calls_have_names_of_their_own():
    for document in DOCUMENTS:
        calls = [call for call in OPERATIONS if call.startswith(f"{document}: ")]
        names = [OPERATIONS[call]["operationId"] for call in calls]
        assert len(set(names)) == len(names)
        assert {"store_task", "list_tasks", "cancel_task", "pause_queue"} <= set(names)
        assert all(name.replace("_", "").isalpha() for name in names)
