#!/usr/bin/env bash
# Litestar 2.25.0 with msgspec 0.23.0: the OpenAPI schema does not say that a struct refuses unknown
# fields.
#
# Guess: a struct with forbid_unknown_fields=True has `additionalProperties: false` in the OpenAPI
# document, as it has in msgspec's own JSON Schema, for the service answers 400 to a field that it does not
# know.
#
# What happens: Litestar reads the struct by its own code and leaves the word out. So a client that is
# generated from the document, or a test that is driven by it, holds a body for valid that the service
# refuses.
#
# Output seen:
#   Litestar: nothing said
#   msgspec: False
#   an unknown field: 400
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


class Order(msgspec.Struct, forbid_unknown_fields=True):
    count: int


@post("/")
async def take(data: Order) -> Order:
    return data


app = Litestar([take])
described = app.openapi_schema.to_schema()["components"]["schemas"]["Order"]
print("Litestar:", described.get("additionalProperties", "nothing said"))
print("msgspec:", msgspec.json.schema(Order)["$defs"]["Order"]["additionalProperties"])
with TestClient(app) as client:
    print("an unknown field:", client.post("/", json={"count": 5, "size": 6}).status_code)
PYTHON
)
expected='Litestar: nothing said
msgspec: False
an unknown field: 400'
printf '%s\n' "$seen"
[ "$seen" = "$expected" ] || { echo 'This has changed.' >&2; exit 1; }
