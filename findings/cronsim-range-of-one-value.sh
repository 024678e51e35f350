#!/usr/bin/env bash
# cronsim 2.8: a range of one value with a step is read as if it had no end.
#
# Guess: `5-5/10 * * * *` means minute 5 alone, for a step goes through the range that is written, and
# this one ends at 5. Vixie's cron and Debian's read it so.
# What happens: cronsim reads it as `5/10`, which is `5-59/10`: minutes 5, 15, 25, 35, 45 and 55.
# `5-6/10`, whose range has two values, fires at minute 5 alone, as expected.
#
# Output seen:
#   5-5/10: 00:05 00:15 00:25
#   5-6/10: 00:05 01:05 02:05
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cronsim==2.8

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime
from itertools import islice

from cronsim import CronSim

for minutes in ("5-5/10", "5-6/10"):
    fires = islice(CronSim(f"{minutes} * * * *", datetime(2026, 1, 1)), 3)
    print(f"{minutes}:", *(f"{each:%H:%M}" for each in fires))
PYTHON
)
expected='5-5/10: 00:05 00:15 00:25
5-6/10: 00:05 01:05 02:05'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
