#!/usr/bin/env bash
# Litestar 2.25.0 with msgspec 0.23.0: a JSON body may hold a number as a string, though the schema says
# integer.
#
# Guess: msgspec is strict unless one asks for less, and JSON can tell a number from a string. So
# `{"count": "5"}` for an int field gets status 400, as msgspec.json.decode refuses it.
#
# What happens: Litestar decodes all sources with strict=False, which parameters in a query need, and
# bodies too. "5" and even "5.0" become 5. `true` is refused. The OpenAPI document says integer, so a test
# that sends what the document forbids and expects status 400 fails.
#
# Output seen:
#   {"count": "5"}: Litestar 201, msgspec alone: ValidationError
#   {"count": "5.0"}: Litestar 201, msgspec alone: ValidationError
#   {"count": true}: Litestar 400, msgspec alone: ValidationError
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    litestar==2.25.0 msgspec==0.23.0 httpx==0.28.1

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import logging

import msgspec
from litestar import Litestar, post
from litestar.testing import TestClient

logging.disable(logging.CRITICAL)


class Order(msgspec.Struct):
    count: int


@post("/")
async def take(data: Order) -> Order:
    return data


with TestClient(Litestar([take])) as client:
    for body in ('{"count": "5"}', '{"count": "5.0"}', '{"count": true}'):
        answer = client.post("/", content=body, headers={"content-type": "application/json"})
        try:
            alone = msgspec.json.decode(body, type=Order)
        except msgspec.ValidationError as error:
            alone = type(error).__name__
        print(f"{body}: Litestar {answer.status_code}, msgspec alone: {alone}")
PYTHON
)
expected='{"count": "5"}: Litestar 201, msgspec alone: ValidationError
{"count": "5.0"}: Litestar 201, msgspec alone: ValidationError
{"count": true}: Litestar 400, msgspec alone: ValidationError'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
