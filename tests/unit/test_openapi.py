"""The OpenAPI document shows an example of every call, every answer and every error."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest

from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.testing import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT: Final[dict[str, Any]] = create_app(in_memory()).openapi_schema.to_schema()
METHODS: Final = {"get", "put", "post", "patch", "delete"}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, calls in DOCUMENT["paths"].items():
        for method in calls.keys() & METHODS:
            yield f"{method.upper()} {path}", calls[method]


OPERATIONS: Final = dict(sorted(operations()))


def check(content: dict[str, Any], where: str) -> list[Any]:
    """See that all of ``content`` has examples that are what its schema says; return them."""
    values: list[Any] = []
    for media in content.values():
        assert media.get("examples"), f"no example: {where}"
        for example in media["examples"].values():
            schema = media["schema"] | {"components": DOCUMENT["components"]}
            jsonschema.validate(example["value"], schema, jsonschema.Draft202012Validator)
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
    assert len(good) == 1
    for status in good:
        content = operation["responses"][status].get("content", {})
        assert bool(content) == (status != "204"), call
        check(content, f"{call} {status}")


@pytest.mark.parametrize("call", OPERATIONS)
def test_an_error_is_shown_as_it_is_sent(call: str):
    errors = {
        int(status): answer
        for status, answer in OPERATIONS[call]["responses"].items()
        if not status.startswith("2")
    }
    for status, answer in errors.items():
        for example in check(answer["content"], f"{call} {status}"):
            if "application/problem+json" in answer["content"]:
                name = HTTPStatus(status).name.lower().replace("_", "-")
                assert example["status"] == status
                assert example["type"] == f"urn:taskscheduler:problem:{name}"
    if call != "GET /healthz":
        assert 503 in errors
    if "{" in call:
        assert 400 in errors


def test_calls_have_names_of_their_own():
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert {"store_task", "list_tasks", "cancel_task", "pause_queue"} <= set(names)
    assert all(name.replace("_", "").isalpha() for name in names)
