#!/usr/bin/env bash
# APScheduler 3.11.3: a job at midnight loses the day after clocks go forward, and a monthly one a whole
# month.
#
# Guess: clocks in New York go from 02:00 to 03:00 on 8 March 2026. Midnight exists on each day, so
# `0 0 * * *` fires on 8, 9 and 10 March, and `0 0 1 * *` fires on 1 April.
#
# What happens: the trigger goes to the next day, or the next month, by a length of real time, which is an
# hour too long after the change. It arrives at 01:00, finds midnight past and takes the day or the month
# after. 9 March and the whole of April have no run. A job at noon loses nothing. The documentation warns
# only of times that are missing or repeated; these are neither. A report of the daily case was closed
# years ago.
#
# Output seen:
#   0 0 * * *: 08 Mar 00:00, 10 Mar 00:00, 11 Mar 00:00
#   0 0 1 * *: 01 Mar 00:00, 01 May 00:00, 01 Jun 00:00
#   0 12 * * *: 08 Mar 12:00, 09 Mar 12:00, 10 Mar 12:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check APScheduler==3.11.3 tzdata==2026.6

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

new_york = ZoneInfo("America/New_York")
for expression, start in (
    ("0 0 * * *", datetime(2026, 3, 7, 12)),
    ("0 0 1 * *", datetime(2026, 2, 15)),
    ("0 12 * * *", datetime(2026, 3, 7, 18)),
):
    trigger = CronTrigger.from_crontab(expression, timezone=new_york)
    now, last, fires = start.replace(tzinfo=new_york), None, []
    for _ in range(3):
        last = trigger.get_next_fire_time(last, now)
        fires.append(f"{last:%d %b %H:%M}")
        now = last + timedelta(seconds=1)
    print(f"{expression}:", ", ".join(fires))
PYTHON
)
expected='0 0 * * *: 08 Mar 00:00, 10 Mar 00:00, 11 Mar 00:00
0 0 1 * *: 01 Mar 00:00, 01 May 00:00, 01 Jun 00:00
0 12 * * *: 08 Mar 12:00, 09 Mar 12:00, 10 Mar 12:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
