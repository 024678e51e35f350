"""The shapes of limits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from taskscheduler.domain.limit import MOST, RATE, WEIGHT_MAX, Limit
from taskscheduler.entrypoints.messages.tasks import Group, Name

if TYPE_CHECKING:
    from taskscheduler.application.client.limits import LimitInUse

Concurrency = Annotated[
    int, Meta(ge=1, le=MOST, description="at most so many run at any moment, over all workers")
]
RateText = Annotated[
    str,
    Meta(
        pattern=f"^{RATE.pattern}$",
        description="so many begin in a second (s), minute (m), hour (h) or day (d), 1000000 at "
        "most; retries count",
        examples=["100/s"],
    ),
]
Burst = Annotated[
    int,
    Meta(
        ge=1,
        le=MOST,
        description="so many of the rate may begin at once; by default what it grants in a tenth "
        "of a second, one at least",
    ),
]
Weight = Annotated[
    int, Meta(ge=1, le=WEIGHT_MAX, description="how much a group gets beside others")
]
PerGroup = Annotated[bool, Meta(description="each group has a limit of its own")]


class PutLimitMessage(Struct, forbid_unknown_fields=True, kw_only=True):
    """A limit whose name is in the path; of concurrency, rate and weight it has one at least."""

    name: Name | UnsetType = UNSET
    queue: Name | None = None
    kind: Name | None = None
    group: Group | None = None
    per_group: PerGroup = False
    concurrency: Concurrency | None = None
    rate: RateText | None = None
    burst: Burst | None = None
    weight: Weight | None = None

    def limit(self, name: str) -> Limit:
        """Return what is asked for, under ``name``. Raises InvalidLimit."""
        fields: dict[str, Any] = {field: getattr(self, field) for field in self.__struct_fields__}
        fields["name"] = name
        return Limit(**fields)


class LimitEditMessage(Struct, forbid_unknown_fields=True, kw_only=True):
    """New values for a limit; what is left out stays as it is, null takes it away."""

    queue: Name | UnsetType | None = UNSET
    kind: Name | UnsetType | None = UNSET
    group: Group | UnsetType | None = UNSET
    per_group: PerGroup | UnsetType = UNSET
    concurrency: Concurrency | UnsetType | None = UNSET
    rate: RateText | UnsetType | None = UNSET
    burst: Burst | UnsetType | None = UNSET
    weight: Weight | UnsetType | None = UNSET

    def changes(self) -> dict[str, Any]:
        """Return what is not left out."""
        given = {field: getattr(self, field) for field in self.__struct_fields__}
        return {field: value for field, value in given.items() if value is not UNSET}


class LimitMessage(Struct, kw_only=True):
    """A limit, and how it is used.

    `running` and `waiting` are counted up to 10,000. `next_at` is when its rate lets the next task
    begin: null for now, and of a limit for each group.
    """

    name: str
    queue: str | None
    kind: str | None
    group: str | None
    per_group: bool
    concurrency: int | None
    rate: str | None
    burst: int | None
    weight: int | None
    running: int
    waiting: int
    next_at: datetime | None
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, limit: LimitInUse) -> LimitMessage:
        """Return ``limit`` as it is sent."""
        definition, use = limit.definition, limit.use
        return cls(
            name=definition.name,
            queue=definition.queue,
            kind=definition.kind,
            group=definition.group,
            per_group=definition.per_group,
            concurrency=definition.concurrency,
            rate=definition.rate,
            burst=definition.at_once,
            weight=definition.weight,
            running=use.running,
            waiting=use.waiting,
            next_at=use.next_at,
            created_at=limit.stored.created_at,
            changed_at=limit.stored.changed_at,
        )
