#!/usr/bin/env bash
# python-dateutil 2.9.0.post0 and rrule 2.8.1 for JavaScript: a weekday with a number hides the same
# weekday without one.
#
# Guess: in a monthly rule, `BYDAY=MO,2MO` is a list, and RFC 5545 takes the union of what a list names:
# each Monday is in it, and the second Monday is one of them.
#
# What happens: both libraries give the second Monday alone. They keep plain weekdays and numbered ones in
# two lists, and ask a day to be in both. So `BYDAY=MO,2TU` gives nothing but days that are a Monday and a
# second Tuesday: dateutil gives none at all.
#
# Output seen:
#   dateutil MO: 05.01. 12.01. 19.01.
#   dateutil 2MO: 12.01. 09.02. 09.03.
#   dateutil MO,2MO: 12.01. 09.02. 09.03.
#   dateutil MO,2TU in five years: 0
#   rrule MO: 01-05 01-12 01-19
#   rrule 2MO: 01-12 02-09 03-09
#   rrule MO,2MO: 01-12 02-09 03-09
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-dateutil==2.9.0.post0
npm install --silent --no-audit --no-fund --prefix "$folder" rrule@2.8.1

seen=$(
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime
from itertools import islice

from dateutil.rrule import rrulestr

for days in ("MO", "2MO", "MO,2MO"):
    rule = rrulestr(f"FREQ=MONTHLY;BYDAY={days};COUNT=3", dtstart=datetime(2026, 1, 1))
    print(f"dateutil {days}:", *(f"{each:%d.%m.}" for each in rule))
rule = rrulestr("FREQ=MONTHLY;BYDAY=MO,2TU;UNTIL=20301231", dtstart=datetime(2026, 1, 1))
print("dateutil MO,2TU in five years:", len(list(rule)))
PYTHON
cd "$folder" && node - <<'NODE'
const { rrulestr } = require("rrule");
for (const days of ["MO", "2MO", "MO,2MO"]) {
  const rule = rrulestr(`DTSTART:20260101T000000Z\nRRULE:FREQ=MONTHLY;BYDAY=${days};COUNT=3`);
  const shown = rule.all().map((each) => each.toISOString().slice(5, 10));
  console.log(`rrule ${days}:`, shown.join(" "));
}
NODE
)
expected='dateutil MO: 05.01. 12.01. 19.01.
dateutil 2MO: 12.01. 09.02. 09.03.
dateutil MO,2MO: 12.01. 09.02. 09.03.
dateutil MO,2TU in five years: 0
rrule MO: 01-05 01-12 01-19
rrule 2MO: 01-12 02-09 03-09
rrule MO,2MO: 01-12 02-09 03-09'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
