#!/usr/bin/env bash
# prometheus_client 0.26.0: its three decorators see nothing of an async function.
#
# Guess: `@histogram.time()`, `@counter.count_exceptions()` and `@gauge.track_inprogress()` work on `async
# def` as they do on `def`, or raise an error when they are applied.
#
# What happens: they measure the call that makes the coroutine, and not what it does. A tenth of a second
# is observed as some microseconds, an exception is not counted, and nothing is ever in progress. The
# series look healthy. As context managers inside of the function, all three are right.
#
# Output seen:
#   running: 0.0
#   the call raised
#   calls: 1.0
#   failures: 0.0
#   a tenth of a second was measured: False
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prometheus-client==0.26.0

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

registry = CollectorRegistry()
length = Histogram("length_seconds", "How long a call takes.", registry=registry)
failures = Counter("failures", "Calls that raised.", registry=registry)
running = Gauge("running", "Calls that run now.", registry=registry)


@length.time()
@failures.count_exceptions()
@running.track_inprogress()
async def work():
    await asyncio.sleep(0.1)
    print("running:", registry.get_sample_value("running"))
    raise LookupError


try:
    asyncio.run(work())
except LookupError:
    print("the call raised")
print("calls:", registry.get_sample_value("length_seconds_count"))
print("failures:", registry.get_sample_value("failures_total"))
print("a tenth of a second was measured:", registry.get_sample_value("length_seconds_sum") >= 0.1)
PYTHON
)
expected='running: 0.0
the call raised
calls: 1.0
failures: 0.0
a tenth of a second was measured: False'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
