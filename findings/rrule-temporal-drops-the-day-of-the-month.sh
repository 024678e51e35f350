#!/usr/bin/env bash
# rrule-temporal 2.2.8 (npm): in a yearly rule, a numbered weekday makes it forget the day of the month.
#
# Guess: `FREQ=YEARLY;BYMONTHDAY=28;BYDAY=-1SU` is the last Sunday of the year where it is a 28th, for RFC
# 5545 says that BYDAY limits where BYMONTHDAY is present. The README calls the library fully compliant.
#
# What happens: it gives the last Sunday of each year, 27 December 2026 first. BYMONTHDAY has no effect. In
# a monthly rule, or with BYDAY=SU, both count. python-dateutil gives 2031, 2036 and 2042.
#
# Output seen:
#   rrule-temporal FREQ=YEARLY;BYMONTHDAY=28;BYDAY=-1SU: 2026-12-27 2027-12-26 2028-12-31
#   rrule-temporal FREQ=MONTHLY;BYMONTHDAY=28;BYDAY=-1SU: 2026-06-28 2027-02-28 2027-03-28
#   rrule-temporal FREQ=YEARLY;BYMONTHDAY=28;BYDAY=SU: 2026-06-28 2027-02-28 2027-03-28
#   dateutil FREQ=YEARLY;BYMONTHDAY=28;BYDAY=-1SU: 2031-12-28 2036-12-28 2042-12-28
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-dateutil==2.9.0.post0
npm install --silent --no-audit --no-fund --prefix "$folder" rrule-temporal@2.2.8

seen=$(
cd "$folder" && node - <<'NODE'
(async () => {
  const { RRuleTemporal } = await import("rrule-temporal");
  for (const rule of [
    "FREQ=YEARLY;BYMONTHDAY=28;BYDAY=-1SU",
    "FREQ=MONTHLY;BYMONTHDAY=28;BYDAY=-1SU",
    "FREQ=YEARLY;BYMONTHDAY=28;BYDAY=SU",
  ]) {
    const days = new RRuleTemporal({ rruleString: `DTSTART;TZID=UTC:20260101T000000\nRRULE:${rule};COUNT=3` }).all();
    console.log(`rrule-temporal ${rule}: ${days.map((day) => day.toString().slice(0, 10)).join(" ")}`);
  }
})();
NODE
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime

from dateutil.rrule import rrulestr

rule = "FREQ=YEARLY;BYMONTHDAY=28;BYDAY=-1SU"
print(f"dateutil {rule}:", *(f"{day:%Y-%m-%d}" for day in rrulestr(f"{rule};COUNT=3", dtstart=datetime(2026, 1, 1))))
PYTHON
)
expected='rrule-temporal FREQ=YEARLY;BYMONTHDAY=28;BYDAY=-1SU: 2026-12-27 2027-12-26 2028-12-31
rrule-temporal FREQ=MONTHLY;BYMONTHDAY=28;BYDAY=-1SU: 2026-06-28 2027-02-28 2027-03-28
rrule-temporal FREQ=YEARLY;BYMONTHDAY=28;BYDAY=SU: 2026-06-28 2027-02-28 2027-03-28
dateutil FREQ=YEARLY;BYMONTHDAY=28;BYDAY=-1SU: 2031-12-28 2036-12-28 2042-12-28'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
