"""The fields of a task that comes after others."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import Meta

from taskscheduler.domain.after import AFTER_MAX, Otherwise, When

AfterIds = Annotated[
    list[UUID],
    Meta(
        min_length=1,
        max_length=AFTER_MAX,
        description="the tasks that must end before this one may begin; they must be there, or "
        "come with it in one batch",
    ),
]
AfterWhen = Annotated[
    When,
    Meta(description="what counts as the end of each; left out, it must succeed; goes with after"),
]
AfterOtherwise = Annotated[
    Otherwise,
    Meta(
        description="what becomes of this task if one of them ends without success: it is "
        "cancelled, runs all the same, or is held until somebody acts; left out, cancelled; goes "
        "with after"
    ),
]
