#!/usr/bin/env bash
# ical.js 2.2.1 (npm): the last day of February is in March from the second year on.
#
# Guess: a yearly rule with `BYMONTH=2,3;BYMONTHDAY=-1` gives the last day of February and the last day of
# March: 28 or 29 February, and 31 March.
#
# What happens: the first year is right. In 2027 it gives 3 March, and in 2028, 2 March: the library counts
# -1 from the length of another month of the rule. With February alone, it is right each year.
#
# Output seen:
#   FREQ=YEARLY;BYMONTH=2,3;BYMONTHDAY=-1: 2026-02-28 2026-03-31 2027-03-03 2027-03-31 2028-03-02 2028-03-31
#   FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1: 2026-02-28 2027-02-28 2028-02-29
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" ical.js@2.2.1

seen=$(cd "$folder" && node - <<'NODE'
(async () => {
  const { default: ICAL } = await import("ical.js");
  const show = (rule, start, count) => {
    const dates = ICAL.Recur.fromString(rule).iterator(ICAL.Time.fromString(start));
    const shown = Array.from({ length: count }, () => dates.next().toString().slice(0, 16).replace("T00:00", ""));
    console.log(`${rule}: ${shown.join(" ")}`);
  };

  show("FREQ=YEARLY;BYMONTH=2,3;BYMONTHDAY=-1", "2026-02-28T00:00:00", 6);
  show("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1", "2026-02-28T00:00:00", 3);
})();
NODE
)
expected='FREQ=YEARLY;BYMONTH=2,3;BYMONTHDAY=-1: 2026-02-28 2026-03-31 2027-03-03 2027-03-31 2028-03-02 2028-03-31
FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1: 2026-02-28 2027-02-28 2028-02-29'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
