"""Filters are read in one place, for HTTP and for the command line."""

from __future__ import annotations

from typing import Any

import pytest

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.query import FILTERS, TaskQuery
from taskscheduler.domain.status import TaskStatus
from taskscheduler.entrypoints.cli import bulk
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.errors import BadRequest


def test_filters_add_up():
    texts = ["status:Failed", "kind:a:b", "queue:mail", "kind:a:b"]
    expected = TaskQuery(status=TaskStatus.FAILED, kind="a:b", queue="mail", limit=7)
    assert TaskQuery.parse(texts, limit=7) == expected
    assert TaskQuery.parse([]) == TaskQuery()
    either = TaskQuery.parse(["kind:a", "queue:a", "kind:b", "status:Failed", "status:Pending"])
    assert either == TaskQuery(
        kind=["b", "a", "a"], queue="a", status=(TaskStatus.PENDING, TaskStatus.FAILED)
    )
    assert either.kinds == {"a", "b"}
    assert either.statuses == {TaskStatus.PENDING, TaskStatus.FAILED}
    assert TaskQuery().statuses is TaskQuery().kinds is TaskQuery().queues is None


def test_a_field_without_any_value_is_refused():
    """Nothing could match it, and somebody who builds a list means something."""
    for field in ("status", "kind", "queue"):
        fields: dict[str, Any] = {field: []}
        with pytest.raises(ValueError, match=f"{field}: give at least one"):
            TaskQuery(**fields)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", FILTERS),
        ("kind", FILTERS),
        ("kinds:Foo", FILTERS),
        ("status:failed", ", ".join(TaskStatus)),
        ("kind:", "1 to 128"),
        ("queue:a b", "1 to 128"),
    ],
)
def test_what_is_no_filter_is_refused_alike_everywhere(text: str, why: str):
    with pytest.raises(ValueError, match="is no") as refused:
        TaskQuery.parse(["kind:Foo", text])
    assert why in str(refused.value)
    with pytest.raises(BadRequest) as answered:
        parameters.query_of([text], None, 1)
    with pytest.raises(InvalidConfiguration) as said:
        bulk.query_of([text])
    assert (answered.value.path, answered.value.reason) == ("filter", str(refused.value))
    assert str(said.value) == f"--filter: {refused.value}"
