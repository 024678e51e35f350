#!/usr/bin/env bash
# python-dateutil 2.9.0.post0: a yearly rule for a week by its number gives each day of that week.
#
# Guess: what a rule does not say, RFC 5545 takes from the start. `BYWEEKNO=20` does not say which day, and
# the start is a Monday, so the rule gives the Monday of week 20 in each year, as `BYMONTH=5` gives one day
# in each May.
#
# What happens: it gives Monday to Sunday of week 20, and COUNT=8 is used up after a year. rrule-temporal
# 2.2.8 for JavaScript gives one day in each year.
#
# Output seen:
#   FREQ=YEARLY;BYWEEKNO=20;COUNT=8: Mon 11 May 2026, Tue 12 May 2026, Wed 13 May 2026, Thu 14 May 2026, Fri 15 May 2026, Sat 16 May 2026, Sun 17 May 2026, Mon 17 May 2027
#   FREQ=YEARLY;BYMONTH=5;COUNT=3: Mon 11 May 2026, Tue 11 May 2027, Thu 11 May 2028
#   rrule-temporal: 2026-05-11, 2027-05-17, 2028-05-15
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-dateutil==2.9.0.post0
npm install --silent --no-audit --no-fund --prefix "$folder" rrule-temporal@2.2.8

seen=$(
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime

from dateutil.rrule import rrulestr


def show(rule, *start):
    days = rrulestr(rule, dtstart=datetime(*start))
    print(f"{rule}:", ", ".join(f"{day:%a %d %b %Y}" for day in days))


show("FREQ=YEARLY;BYWEEKNO=20;COUNT=8", 2026, 5, 11)
show("FREQ=YEARLY;BYMONTH=5;COUNT=3", 2026, 5, 11)
PYTHON
cd "$folder" && node - <<'NODE'
(async () => {
  const { RRuleTemporal } = await import("rrule-temporal");
  const text = "DTSTART;TZID=UTC:20260511T000000\nRRULE:FREQ=YEARLY;BYWEEKNO=20;COUNT=3";
  const rule = new RRuleTemporal({ rruleString: text });
  console.log("rrule-temporal:", rule.all().map((day) => day.toString().slice(0, 10)).join(", "));
})();
NODE
)
expected='FREQ=YEARLY;BYWEEKNO=20;COUNT=8: Mon 11 May 2026, Tue 12 May 2026, Wed 13 May 2026, Thu 14 May 2026, Fri 15 May 2026, Sat 16 May 2026, Sun 17 May 2026, Mon 17 May 2027
FREQ=YEARLY;BYMONTH=5;COUNT=3: Mon 11 May 2026, Tue 11 May 2027, Thu 11 May 2028
rrule-temporal: 2026-05-11, 2027-05-17, 2028-05-15'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
