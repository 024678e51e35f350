#!/usr/bin/env bash
# dramatiq 2.2.1: a message that is delayed for longer than max_age never runs.
#
# Guess: max_age drops what has waited for a worker too long. A message with a delay waits for its time
# first; it is due after the delay, so its age counts from then.
#
# What happens: the age counts from the moment of sending. With max_age of half a second and a delay of one
# second, the message is too old when it is due, and it is dropped. A free worker stands by, and nothing is
# raised: who asks for a delay of an hour in an application with a max_age of a minute loses each such
# message.
#
# Output seen:
#   sent without a delay, ran
#   sent with a delay of 100 ms, ran
#   dropped: 1
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dramatiq==2.2.1

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import logging
import time

import dramatiq
from dramatiq.brokers.stub import StubBroker

logging.disable(logging.CRITICAL)
broker = StubBroker()
dramatiq.set_broker(broker)


@dramatiq.actor(max_age=500, max_retries=0)
def work(name):
    print(name, "ran")


worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
worker.start()
work.send("sent without a delay,")
work.send_with_options(args=("sent with a delay of 100 ms,",), delay=100)
work.send_with_options(args=("sent with a delay of 1000 ms,",), delay=1000)
broker.join("default", fail_fast=False)
time.sleep(2)
broker.join("default", fail_fast=False)
worker.stop()
print("dropped:", len(broker.dead_letters))
PYTHON
)
expected='sent without a delay, ran
sent with a delay of 100 ms, ran
dropped: 1'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
