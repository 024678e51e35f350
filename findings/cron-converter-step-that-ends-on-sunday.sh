#!/usr/bin/env bash
# cron-converter 2.0.2: a step on a range of weekdays that ends on 7 loses Sunday.
#
# Guess: 7 is Sunday, for `5-7` is Friday, Saturday and Sunday. So `1-7/2` is Monday, Wednesday, Friday and
# Sunday: every second day from 1 to 7.
#
# What happens: the library makes 7 to 0 first and sorts, and then takes the step from the first day of the
# range: Sunday is now the first number and not part of the steps. `1-7/2` is Monday, Wednesday and Friday.
# `3-7/2` and `5-7/2` lose their Sunday too, and no error is raised.
#
# Output seen:
#   5-7: [0, 5, 6]
#   1-7/2: [1, 3, 5]
#   3-7/2: [3, 5]
#   5-7/2: [5]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cron-converter==2.0.2

seen=$("$folder/venv/bin/python" - <<'PYTHON'
from cron_converter import Cron

for weekdays in ("5-7", "1-7/2", "3-7/2", "5-7/2"):
    print(f"{weekdays}:", Cron(f"0 0 * * {weekdays}").to_list()[4])
PYTHON
)
expected='5-7: [0, 5, 6]
1-7/2: [1, 3, 5]
3-7/2: [3, 5]
5-7/2: [5]'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
