"""Metrics in Prometheus's format: of the store, of a worker, of the REST service."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from taskscheduler.application.distribution import release
from taskscheduler.application.metrics.store_sampler import StoreSampler
from taskscheduler.domain.status import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from prometheus_client.metrics_core import Metric

    from taskscheduler.application.metrics.attempt_stats import AttemptStats, Histogram
    from taskscheduler.application.metrics.store_sampler import Sample
    from taskscheduler.application.store import Store
    from taskscheduler.application.worker.worker import Worker
    from taskscheduler.domain.ports.wakeups import WakeUps
    from taskscheduler.entrypoints.process import Process
    from taskscheduler.entrypoints.request_metrics import Requests

MEDIA_TYPE: Final = "text/plain; version=0.0.4"
CONTENT_TYPE: Final = f"{MEDIA_TYPE}; charset=utf-8"
NAME: Final = "taskscheduler"


class Metrics:
    """Everything that one process can tell. Only ``exposition`` asks the store anything."""

    def __init__(self, store: Store, process: Process) -> None:
        """Tell of ``store`` and of what runs in ``process``."""
        self._store = store
        self._sampler = StoreSampler(store)
        self._sample: Sample | None = None
        self._process = process
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self)  # pyright: ignore[reportArgumentType] - by structure

    async def exposition(self) -> bytes:
        """Return all metrics as text. What the store tells is at most some seconds old."""
        self._sample = await self._sampler.latest()
        stats = self._process.stats
        if self._sample is not None and stats is not None:
            # The clock that counts boot time and the one that measures attempts may differ.
            monotonic_s = time.monotonic() - self._sampler.age_s(self._sample)
            stats.set_clock(self._sample.backlog.now, monotonic_s)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; the registry calls this."""
        yield InfoMetricFamily(
            f"{NAME}_build",
            "What runs here",
            {"version": release(), "python": platform.python_version()},
        )
        yield from self._of_store()
        process = self._process
        yield from of_wakeups(self._store.wakeups, process.worker)
        if process.worker is not None:
            yield from of_worker(process.worker)
        if process.stats is not None:
            yield from of_stats(process.stats)
        if process.requests is not None:
            yield from of_requests(process.requests)

    def describe(self) -> list[Metric]:
        """Name nothing beforehand: the names differ from process to process."""
        return []

    def _of_store(self) -> Iterator[Metric]:
        yield gauge(
            "store_up",
            "1 if the last look at the store was answered",
            int(self._sampler.store_answers),
        )
        pool = GaugeMetricFamily(
            f"{NAME}_pool", "Pooled connections, and callers waiting for one", labels=["state"]
        )
        for state, number in self._store.backlog_stats.connections().items():
            pool.add_metric([state], number)
        yield pool
        if (sample := self._sample) is None:
            return
        yield gauge(
            "sample_age_seconds", "How old the look at the store is", self._sampler.age_s(sample)
        )
        depth = GaugeMetricFamily(
            f"{NAME}_tasks", "Pending tasks: due now, or scheduled", labels=["queue", "state"]
        )
        guessed = GaugeMetricFamily(
            f"{NAME}_tasks_estimated", "1 if there are too many to count", labels=["queue"]
        )
        oldest = GaugeMetricFamily(
            f"{NAME}_oldest_due_seconds", "How long the first due task waits", labels=["queue"]
        )
        yield gauge(
            "tasks_left_out",
            "1 if tasks wait in so many queues, kinds and priorities that some were not counted",
            int(sample.backlog.left_out),
        )
        for queue, here in sample.backlog.queues.items():
            depth.add_metric([queue, "due"], here.due)
            depth.add_metric([queue, "scheduled"], here.scheduled)
            guessed.add_metric([queue], int(here.estimated))
            late = here.oldest_due
            oldest.add_metric([queue], 0.0 if late is None else late.total_seconds())
        yield from (depth, guessed, oldest)
        workers = GaugeMetricFamily(f"{NAME}_workers", "Registered workers", labels=["state"])
        workers.add_metric(["live"], sample.workers_live)
        workers.add_metric(["silent"], sample.workers_silent)
        yield workers


def of_worker(worker: Worker) -> Iterator[Metric]:
    """Yield what a worker is at present."""
    slots = GaugeMetricFamily(f"{NAME}_slots", "The worker's slots", labels=["state"])
    slots.add_metric(["busy"], worker.busy)
    slots.add_metric(["free"], worker.concurrency - worker.busy)
    yield slots
    yield gauge("unstored_outcomes", "Outcomes that the store does not have yet", worker.backlog)
    yield counter(
        "fenced_outcomes", "Outcomes that came too late: the lease was lost", worker.fenced
    )
    yield counter(
        "refused_outcomes",
        "Outcomes that the store refused for good: their tasks were failed or put back",
        worker.refused,
    )
    yield gauge(
        "suspect_tasks",
        "Due tasks that had begun when several workers went down, as this one last found",
        worker.suspects,
    )
    yield gauge(
        "runs_suspects",
        "1 while such tasks run here, and nothing beside them",
        int(worker.runs_suspects),
    )
    yield gauge(
        "abandoned_threads",
        "Threads that still run an attempt which has ended without them",
        worker.abandoned,
    )


def of_wakeups(wakeups: WakeUps, worker: Worker | None) -> Iterator[Metric]:
    """Yield whether wake-ups get through. Where polling was chosen there is nothing to tell."""
    if wakeups.by == "poll":
        return
    hints = wakeups.hints
    yield gauge(
        "wakeups_sending",
        "1 unless the last hint could not be given, and workers find it by polling",
        int(hints.degraded is None),
    )
    yield counter("wakeups_sent", "Hints given", hints.sent)
    yield counter("wakeups_failed", "Times that hints could not be given", hints.failed)
    if worker is not None:
        yield gauge(
            "wakeups_listening",
            "1 if wake-ups are heard, 0 if polling alone finds work",
            int(worker.listener is not None and worker.listener.degraded is None),
        )


def of_stats(stats: AttemptStats) -> Iterator[Metric]:
    """Yield what a worker has done."""
    attempts = CounterMetricFamily(
        f"{NAME}_attempts",
        "Attempts that ended here, by what ended them",
        labels=["kind", "outcome"],
    )
    for (kind, outcome), count in list(stats.outcomes.items()):
        attempts.add_metric([kind, outcome], count)
    yield attempts
    retries = CounterMetricFamily(f"{NAME}_retries", "Attempts to be repeated", labels=["kind"])
    for (kind, outcome), count in list(stats.outcomes.items()):
        if outcome == Event.RETRY.value:
            retries.add_metric([kind], count)
    yield retries
    yield histogram("run_seconds", "How long handlers ran", stats.run_s)
    yield histogram(
        "start_lateness_seconds", "How long after its time an attempt began", stats.late_s
    )
    batches = HistogramMetricFamily(f"{NAME}_claim_tasks", "Tasks that a claim brought")
    batches.add_metric([], *cumulated(stats.claims))
    yield batches
    faults = CounterMetricFamily(
        f"{NAME}_faults",
        "Unforeseen errors of one part of the worker, which goes on; the log says which",
        labels=["part"],
    )
    for part, count in list(stats.faults.items()):
        faults.add_metric([part], count)
    yield faults
    yield counter("rescued_tasks", "Tasks taken from workers that fell silent", stats.rescues)
    fires = CounterMetricFamily(
        f"{NAME}_schedule_fires", "Fires of schedules, by what became of them", labels=["outcome"]
    )
    for outcome, count in list(stats.fires.items()):
        fires.add_metric([outcome], count)
    yield fires


def of_requests(requests: Requests) -> Iterator[Metric]:
    """Yield how long the REST service's answers took."""
    family = HistogramMetricFamily(
        f"{NAME}_http_request_seconds",
        "How long it took until an answer began; of none, until it was given up, as status 0",
        labels=["method", "route", "status"],
    )
    for (method, route, status), found in list(requests.took_s.items()):
        family.add_metric([method, route, str(status)], *cumulated(found))
    yield family


def gauge(name: str, about: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(f"{NAME}_{name}", about, value=value)


def counter(name: str, about: str, value: float) -> Metric:
    """Return a counter without labels."""
    return CounterMetricFamily(f"{NAME}_{name}", about, value=value)


def histogram(name: str, about: str, by_kind: Mapping[str, Histogram]) -> Metric:
    """Return a histogram by kind."""
    family = HistogramMetricFamily(f"{NAME}_{name}", about, labels=["kind"])
    for kind, found in list(by_kind.items()):
        family.add_metric([kind], *cumulated(found))
    return family


def cumulated(found: Histogram) -> tuple[Sequence[tuple[str, float]], float]:
    """Return the buckets as Prometheus wants them, each with all before it, and the sum."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip([*found.bounds, "+Inf"], found.counts, strict=True):
        total += count
        buckets.append((str(bound), total))
    return buckets, found.sum


def asgi(metrics: Metrics) -> Callable[..., Awaitable[None]]:
    """Return an application that answers ``GET /metrics`` and ``/healthz``, and nothing else."""

    async def answer(scope: Mapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001
        path = scope.get("path")
        if scope["type"] != "http":
            return
        status, body = 404, b"there are /metrics and /healthz here\n"
        if scope["method"] not in {"GET", "HEAD"}:
            status, body = 405, b"GET only\n"
        elif path == "/metrics":
            status, body = 200, await metrics.exposition()
        elif path == "/healthz":
            status, body = 200, b"ok\n"
        headers: Iterable[tuple[bytes, bytes]] = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        shown = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": shown})

    return answer
