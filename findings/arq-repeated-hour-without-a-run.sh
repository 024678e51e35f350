#!/usr/bin/env bash
# arq 0.28.0: a job of each half hour has no run for an hour and a half when clocks go back.
#
# Guess: with a worker in a time zone, `minute={0, 30}` runs each half hour. When New York goes from 02:00
# back to 01:00, 01:00 and 01:30 come twice, and the job runs each time.
#
# What happens: next_cron adds to the clock on the wall. It goes from the first 01:30 to 02:00, between
# which lie 90 minutes of real time, and the second 01:00 and 01:30 have no run.
#
# Output seen:
#   01:00 -0400, 0:30:00 later
#   01:30 -0400, 0:30:00 later
#   02:00 -0500, 1:30:00 later
#   02:30 -0500, 0:30:00 later
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check arq==0.28.0 tzdata==2026.6

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from arq.cron import next_cron

at = datetime(2026, 11, 1, 0, 30, tzinfo=ZoneInfo("America/New_York"))
for _ in range(4):
    following = next_cron(at, minute={0, 30}, second=0, microsecond=0)
    print(f"{following:%H:%M %z}, {following.astimezone(UTC) - at.astimezone(UTC)} later")
    at = following
PYTHON
)
expected='01:00 -0400, 0:30:00 later
01:30 -0400, 0:30:00 later
02:00 -0500, 1:30:00 later
02:30 -0500, 0:30:00 later'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
