#!/usr/bin/env bash
# opentelemetry-sdk 1.45.2: a decorated generator has a span that is over before its body begins.
#
# Guess: `@tracer.start_as_current_span("name")` covers the body of an async function, so it covers the
# body of a generator and of an async generator too, or raises an error.
#
# What happens: for both kinds of generator, the span covers the call that makes it. It is over when the
# first line of the body runs, what the body does belongs to no span of this name, and a body that raises
# leaves a span without an error.
#
# Output seen:
#   spans that are over as the body begins: generator
#   the body raised
#   generator: status UNSET, covers the tenth of a second: False
#   async function: status UNSET, covers the tenth of a second: True
#   async generator: status UNSET, covers the tenth of a second: False
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


@tracer.start_as_current_span("async function")
async def function():
    await asyncio.sleep(0.1)


@tracer.start_as_current_span("generator")
def generator():
    print("spans that are over as the body begins:", *(span.name for span in exporter.get_finished_spans()))
    yield
    raise LookupError


@tracer.start_as_current_span("async generator")
async def async_generator():
    await asyncio.sleep(0.1)
    yield


async def main():
    try:
        list(generator())
    except LookupError:
        print("the body raised")
    await function()
    async for _ in async_generator():
        pass


asyncio.run(main())
for span in exporter.get_finished_spans():
    waited = span.end_time - span.start_time >= 100_000_000
    print(f"{span.name}: status {span.status.status_code.name}, covers the tenth of a second: {waited}")
PYTHON
)
expected='spans that are over as the body begins: generator
the body raised
generator: status UNSET, covers the tenth of a second: False
async function: status UNSET, covers the tenth of a second: True
async generator: status UNSET, covers the tenth of a second: False'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
