"""The table of transitions, every pair of it."""

from __future__ import annotations

import itertools

import pytest

from taskscheduler.domain.errors import IllegalTransition
from taskscheduler.domain.status import FINAL, TRANSITIONS, Event, TaskStatus, after

LEGAL = {
    TaskStatus.PENDING: {
        Event.CLAIM: TaskStatus.IN_PROGRESS,
        Event.CANCEL: TaskStatus.CANCELLED,
        Event.EDIT: TaskStatus.PENDING,
    },
    TaskStatus.IN_PROGRESS: {
        Event.COMPLETE: TaskStatus.COMPLETED,
        Event.RETRY: TaskStatus.PENDING,
        Event.SNOOZE: TaskStatus.PENDING,
        Event.RELEASE: TaskStatus.PENDING,
        Event.RESCUE: TaskStatus.PENDING,
        Event.EXPIRE: TaskStatus.FAILED,
        Event.FAIL: TaskStatus.FAILED,
        Event.CANCEL: TaskStatus.CANCELLED,
    },
    TaskStatus.COMPLETED: {},
    TaskStatus.FAILED: {Event.REVIVE: TaskStatus.PENDING},
    TaskStatus.CANCELLED: {Event.REVIVE: TaskStatus.PENDING},
}
"""Written down a second time, so that the table cannot change by accident."""


@pytest.mark.parametrize(("status", "event"), list(itertools.product(TaskStatus, Event)))
def test_every_pair_is_legal_or_refused(status: TaskStatus, event: Event) -> None:
    """As the table says."""
    expected = LEGAL[status].get(event)
    if expected is None:
        with pytest.raises(IllegalTransition) as refused:
            after(status, event)
        assert (refused.value.status, refused.value.event) == (status.value, event.value)
        verb = {Event.REVIVE: "retry", Event.EDIT: "change"}.get(event, event.value)
        assert str(refused.value) == f"cannot {verb} a task that is {status.value}"
    else:
        assert after(status, event) is expected


def test_a_completed_task_has_no_way_out() -> None:
    """It is never run again."""
    assert not [event for status, event in TRANSITIONS if status is TaskStatus.COMPLETED]


def test_final_statuses_are_those_that_no_worker_leaves() -> None:
    """Only an operator's retry does."""
    left = {status for status, event in TRANSITIONS if event is not Event.REVIVE}
    assert set(TaskStatus) - left == FINAL
    assert {status for status in TaskStatus if status.is_final} == FINAL


def test_statuses_are_spelt_as_everywhere() -> None:
    """In Python, SQL and HTTP."""
    assert [str(status) for status in TaskStatus] == [
        "Pending",
        "InProgress",
        "Completed",
        "Failed",
        "Cancelled",
    ]


def test_an_error_names_what_its_caller_did() -> None:
    """Not what the table calls it, where that is another word."""
    with pytest.raises(IllegalTransition, match="cannot run a task that is Failed") as refused:
        after(TaskStatus.FAILED, Event.EDIT, verb="run")
    assert refused.value.event == "edit"
