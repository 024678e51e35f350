"""Secrets in files of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taskscheduler.domain import redaction
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.redaction import redacted
from taskscheduler.entrypoints.cli.secret_files import IN_FILES, learn_all, read_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", IN_FILES)
def test_a_file_holds_what_the_variable_would(name: str, tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text("postgresql://u:p@h/db\n")
    environment = {f"{name}_FILE": str(file), "OTHER": "x"}
    read_files(environment)
    assert environment == {name: "postgresql://u:p@h/db", "OTHER": "x"}


def test_a_secret_is_given_once(tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text("s3cr3t")
    environment = {"DATABASE_URL": "x", "DATABASE_URL_FILE": str(file)}
    with pytest.raises(InvalidConfiguration, match="are both set") as refused:
        read_files(environment)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b" \n", b"s3cr3t\xff", b"s3cr3t\0", b"s3cr3t" * 20_000])
def test_a_file_that_holds_no_secret_is_refused_and_not_shown(content: bytes, tmp_path: Path):
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match="holds no text of up to") as refused:
        read_files({"DATABASE_URL_FILE": str(file)})
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("path", ["missing", "."])
def test_a_file_that_cannot_be_read_is_named(path: str, tmp_path: Path):
    with pytest.raises(InvalidConfiguration, match="cannot be read: "):
        read_files({"DATABASE_URL_FILE": str(tmp_path / path)})


def test_what_is_in_the_environment_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redaction, "_learned", set[str]())
    monkeypatch.setattr(redaction, "_learned_pattern", None)
    learn_all(
        {
            "DATABASE_URL": "postgresql://u:Kanari-eins@h/db",
            "TASKSCHEDULER_WAKEUPS": "amqp://u:Kanari-zwei@h/",
            "TASKSCHEDULER_WEBHOOK_SECRET": "whsec_Kanari+drei, whsec_Kanari+vier",
            "PGPASSWORD": "Kanari-fuenf",
        }
    )
    for each in ("Kanari-eins", "Kanari-zwei", "Kanari+drei", "Kanari+vier", "Kanari-fuenf"):
        said = each if "+" not in each else f"whsec_{each}"
        assert "Kanari" not in redacted(f"said {said}, or so")
