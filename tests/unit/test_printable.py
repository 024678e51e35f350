"""What strangers wrote is shown as what it is, wherever text is shown."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import pytest

from taskscheduler.domain.printable import printable, printable_json
from taskscheduler.entrypoints.cli._runtime import say, tell
from taskscheduler.entrypoints.logs import configure_logs
from taskscheduler.entrypoints.settings import LogFormat, LogLevel

FOREIGN = "a\x1b[31mb\x9b1mc\u202ed\r\ne\x07\x7f\u2028\u2066\ufeff\U000e0041f"
RAW = set(FOREIGN) - set("abcdef[31m1m")


def test_every_control_and_every_mark_of_direction_is_escaped():
    for number in range(0x110000):
        sign = chr(number)
        category, direction = unicodedata.category(sign), unicodedata.bidirectional(sign)
        unseen = category in {"Cc", "Cs", "Zl", "Zp"} or direction in {
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        }
        if unseen or number in {0x200E, 0x200F, 0x61C}:
            assert sign not in printable(sign), hex(number)
            assert sign in "\n\t" or sign not in printable(sign, lines=True), hex(number)
        elif category[0] in "LNPS":
            assert printable(sign) == sign, hex(number)


def test_it_says_what_was_there():
    assert printable("a\x1b[0m\r\n\u202eb\x9b") == r"a\x1b[0m\r\n\u202eb\x9b"
    assert printable("a\tb\nc\r", lines=True) == "a\tb\nc\\r"
    assert printable("grüße 👩‍👧 עברית") == "grüße 👩‍👧 עברית"


def test_json_keeps_its_meaning():
    text = json.dumps([FOREIGN], ensure_ascii=False)
    assert json.loads(printable_json(text)) == [FOREIGN]
    assert not RAW & set(printable_json(text))


def test_the_command_line_shows_it(capsys: pytest.CaptureFixture[str]):
    say({"x": FOREIGN}, as_json=True, text="")
    say(None, as_json=False, text=FOREIGN)
    tell(FOREIGN)
    printed = capsys.readouterr().out
    assert not (RAW - {"\n"}) & set(printed)
    assert printed.count("\n") == 4  # one of its own, where it may be several lines
    assert printed.count("\\x1b[31m") == 2


def test_logs_of_text_show_it(monkeypatch: pytest.MonkeyPatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    before = logging.root.handlers[:], logging.root.level
    try:
        configure_logs(LogLevel.INFO, LogFormat.TEXT)
        log = logging.getLogger("taskscheduler.test")
        log.warning("said %s", FOREIGN, extra={"more": FOREIGN, "deep": {"x": [FOREIGN]}})
        try:
            raise ValueError(FOREIGN)  # noqa: TRY301 - it is to have a traceback
        except ValueError:
            log.exception("failed")
    finally:
        logging.root.handlers[:], level = before
        logging.root.setLevel(level)
    written = out.getvalue()
    assert not (RAW - {"\n"}) & set(written)
    first, _, traceback = written.partition("\n")
    assert first.count(r"\x1b[31m") >= 3
    assert "Traceback" in traceback
