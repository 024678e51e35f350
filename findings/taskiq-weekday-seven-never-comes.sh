#!/usr/bin/env bash
# taskiq 0.13.0 with pycron 3.3.0: a schedule for weekday 7 never runs, and no error is raised.
#
# Guess: crontab(5) lets 0 and 7 both be Sunday. So `0 0 * * 7` runs on Sundays and `5-7` from Friday to
# Sunday, or the scheduler refuses 7.
#
# What happens: each minute, the scheduler asks pycron by the function below, and pycron knows Sunday as
# 0 alone. 7 is taken and meets no day. `5-7` and `1-7` leave Sunday out.
#
# Output seen:
#   0: Sun
#   7: never
#   5-7: Fri Sat
#   1-7: Mon Tue Wed Thu Fri Sat
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check taskiq==0.13.0 pycron==3.3.0

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime

from taskiq.cli.scheduler.run import is_cron_task_now

week = [datetime(2026, 1, 5 + day) for day in range(7)]
for weekdays in ("0", "7", "5-7", "1-7"):
    runs = [f"{day:%a}" for day in week if is_cron_task_now(f"0 0 * * {weekdays}", day)]
    print(f"{weekdays}:", " ".join(runs) or "never")
PYTHON
)
expected='0: Sun
7: never
5-7: Fri Sat
1-7: Mon Tue Wed Thu Fri Sat'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
