#!/usr/bin/env bash
# cronsim 2.8: where clocks change by half an hour, `0 */6 * * *` loses 06:00.
#
# Guess: clocks on Lord Howe Island go from 02:00 back to 01:30 on 5 April 2026, and from 02:00 to 02:30 on
# 4 October. 06:00 exists once on both days, so both have runs at 00:00, 06:00, 12:00 and 18:00.
#
# What happens: the library goes from hour to hour in real time. After the change it stands at half past,
# meets hour 6 at 06:30, where minute 0 is past, and goes on to 12:00. The same hours as a list,
# `0,6,12,18`, lose nothing.
#
# Output seen:
#   */6 from 04 Apr: 00:00 12:00 18:00
#   0,6,12,18 from 04 Apr: 00:00 06:00 12:00
#   */6 from 03 Oct: 00:00 12:00 18:00
#   0,6,12,18 from 03 Oct: 00:00 06:00 12:00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cronsim==2.8 tzdata==2026.6

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim

zone = ZoneInfo("Australia/Lord_Howe")
for day in (datetime(2026, 4, 4, 20), datetime(2026, 10, 3, 20)):
    for hours in ("*/6", "0,6,12,18"):
        fires = islice(CronSim(f"0 {hours} * * *", day.replace(tzinfo=zone)), 3)
        print(f"{hours} from {day:%d %b}:", *(f"{each:%H:%M}" for each in fires))
PYTHON
)
expected='*/6 from 04 Apr: 00:00 12:00 18:00
0,6,12,18 from 04 Apr: 00:00 06:00 12:00
*/6 from 03 Oct: 00:00 12:00 18:00
0,6,12,18 from 03 Oct: 00:00 06:00 12:00'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
