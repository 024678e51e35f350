#!/usr/bin/env bash
# rrule 2.8.1 (npm): a position that a month does not have is taken to be its first day.
#
# Guess: `BYDAY=FR;BYSETPOS=-5` is the fifth Friday from the end. A month with four Fridays has none, so
# the rule leaves it out, as `BYSETPOS=5` does. python-dateutil, which rrule was made from, does so.
#
# What happens: the rule gives the first Friday of each month, also of those with four. Counted from the
# end, the library cuts what lies before the first to the first. So `BYMONTHDAY=30,31;BYSETPOS=-2` gives
# the 30th of April too.
#
# Output seen:
#   rrule BYDAY=FR;BYSETPOS=-5: 01-02 02-06 03-06 04-03
#   rrule BYDAY=FR;BYSETPOS=5: 01-30 05-29 07-31 10-30
#   rrule BYMONTHDAY=30,31;BYSETPOS=-2: 01-30 03-30 04-30 05-30
#   dateutil BYDAY=FR;BYSETPOS=-5: 01-02 05-01 07-03 10-02
#   dateutil BYMONTHDAY=30,31;BYSETPOS=-2: 01-30 03-30 05-30 07-30
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-dateutil==2.9.0.post0
npm install --silent --no-audit --no-fund --prefix "$folder" rrule@2.8.1

seen=$(
cd "$folder" && node - <<'NODE'
const { rrulestr } = require("rrule");
for (const rule of ["BYDAY=FR;BYSETPOS=-5", "BYDAY=FR;BYSETPOS=5", "BYMONTHDAY=30,31;BYSETPOS=-2"]) {
  const dates = rrulestr(`DTSTART:20260101T000000Z\nRRULE:FREQ=MONTHLY;${rule};COUNT=4`).all();
  console.log(`rrule ${rule}:`, dates.map((each) => each.toISOString().slice(5, 10)).join(" "));
}
NODE
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime

from dateutil.rrule import rrulestr

for rule in ("BYDAY=FR;BYSETPOS=-5", "BYMONTHDAY=30,31;BYSETPOS=-2"):
    dates = rrulestr(f"FREQ=MONTHLY;{rule};COUNT=4", dtstart=datetime(2026, 1, 1))
    print(f"dateutil {rule}:", *(f"{each:%m-%d}" for each in dates))
PYTHON
)
expected='rrule BYDAY=FR;BYSETPOS=-5: 01-02 02-06 03-06 04-03
rrule BYDAY=FR;BYSETPOS=5: 01-30 05-29 07-31 10-30
rrule BYMONTHDAY=30,31;BYSETPOS=-2: 01-30 03-30 04-30 05-30
dateutil BYDAY=FR;BYSETPOS=-5: 01-02 05-01 07-03 10-02
dateutil BYMONTHDAY=30,31;BYSETPOS=-2: 01-30 03-30 05-30 07-30'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
