#!/usr/bin/env bash
# opentelemetry-sdk 1.45.2: a span whose work was cancelled cannot be told from one that went well.
#
# Guess: a span records each exception that leaves it and gets the status ERROR, unless one asks for less.
# A task that is cancelled, or runs into asyncio.timeout, leaves the span by an exception.
#
# What happens: the library records subclasses of Exception alone, and CancelledError is none. The span has
# no event and no status, as a span has whose work is done. asyncio.timeout makes TimeoutError only outside
# of the span that is within it, so work that ran out of time looks fine as well.
#
# Output seen:
#   raised: status ERROR, events: 1
#   cancelled: status UNSET, events: 0
#   out of time: status UNSET, events: 0
#   done: status UNSET, events: 0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opentelemetry-sdk==1.45.2

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import asyncio

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("finding")


async def raises():
    with tracer.start_as_current_span("raised"):
        raise LookupError


async def waits(name):
    with tracer.start_as_current_span(name):
        await asyncio.sleep(60)


async def main():
    await asyncio.gather(raises(), return_exceptions=True)
    task = asyncio.create_task(waits("cancelled"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    try:
        async with asyncio.timeout(0.01):
            await waits("out of time")
    except TimeoutError:
        pass
    with tracer.start_as_current_span("done"):
        pass


asyncio.run(main())
for span in exporter.get_finished_spans():
    print(f"{span.name}: status {span.status.status_code.name}, events: {len(span.events)}")
PYTHON
)
expected='raised: status ERROR, events: 1
cancelled: status UNSET, events: 0
out of time: status UNSET, events: 0
done: status UNSET, events: 0'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
