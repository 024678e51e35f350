"""``keys``: made, listed and revoked."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.processes import Programs


def test_a_key_is_shown_once(programs: Programs):
    ran = programs.run("keys", "add", "Zoë's shop", "--scope", "write", "--queue-prefix", "shop.")
    assert ran.returncode == 0, ran.stderr
    token = ran.stdout.strip()
    assert re.fullmatch(r"tsk_[0-9a-f]{16}_[0-9a-f]{64}", token)
    assert "not shown again" in ran.stderr
    _, key_id, secret = token.split("_")
    listed = programs.good("keys", "list")
    (line,) = [line for line in listed.splitlines() if line.startswith(key_id)]
    assert "write" in line
    assert "Zoë's shop" in line
    assert "shop.*" in line
    assert secret not in listed + ran.stderr


def test_json_for_machines(programs: Programs):
    added = json.loads(
        programs.good("keys", "add", "m", "--scope", "admin", "--expires", "90d", "--json")
    )
    assert added["token"].startswith(f"tsk_{added['id']}_")
    assert (added["scope"], added["queue_prefix"], added["revoked_at"]) == ("admin", None, None)
    assert added["expires_at"].endswith("Z")
    token = added.pop("token")
    listed = json.loads(programs.good("keys", "list", "--json"))
    assert added in listed
    assert token.rsplit("_", 1)[1] not in json.dumps(listed)
    revoked = json.loads(programs.good("keys", "revoke", added["id"], "--json"))
    assert revoked["revoked_at"] is not None
    assert json.loads(programs.good("keys", "revoke", added["id"], "--json")) == revoked


def test_the_newest_comes_first(programs: Programs):
    names = ["one", "two", "three"]
    for name in names:
        programs.good("keys", "add", name)
    listed = json.loads(programs.good("keys", "list", "--json"))
    assert [each["name"] for each in listed if each["name"] in names] == names[::-1]


@pytest.mark.parametrize("key_id", ["0" * 16, "shop", "' OR true --"])
def test_a_key_that_is_not_there_cannot_be_revoked(programs: Programs, key_id: str):
    assert "no key has the id" in programs.refused("keys", "revoke", key_id, code=1)


def test_quotas_are_changed_and_lifted(programs: Programs):
    added = json.loads(programs.good("keys", "add", "q", "--waiting-max", "5", "--json"))
    key_id = added.pop("id")
    del added["token"]

    def update(*options: str) -> dict[str, object]:
        return json.loads(programs.good("keys", "update", key_id, *options, "--json"))

    expected = {**added, "id": key_id, "queues_max": 3}
    assert update("--queues-max", "3") == expected
    assert update("--waiting-max", "0")["waiting_max"] == 0
    lifted = update("--no-quota", "--schedules-max", "1")
    assert lifted == {**expected, "queues_max": None, "waiting_max": None, "schedules_max": 1}
    assert update("--no-quota")["schedules_max"] is None
    assert "key changed" in programs.good("audit", "--limit", "1")
    assert "no key has the id" in programs.refused("keys", "update", "x", "--no-quota", code=1)
    assert "--no-quota" in programs.refused("keys", "update", key_id, code=2)
