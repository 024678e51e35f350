"""What leaves the process holds no secrets: one rule for logs, errors, spans, commands and exports.

Errors of drivers and of handlers quote what they were given: URLs with passwords, headers, tokens.
``redacted`` takes out what looks like a secret by its form or by the name before it, and whatever
this process was told is one. It works in one go, so that no text can hold it up.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

GONE: Final = "[redacted]"
LEARNED_CHARACTERS_MIN: Final = 8
"""Shorter secrets are words of their own: taking them out everywhere would hide other things."""
PART_CHARACTERS_MIN: Final = 4
LEARNED_MAX: Final = 256

_NAME: Final = (
    r"pass(?:word|wd|phrase)|pwd|secret|token|credential|signature|authorization|cookie|"
    r"api[_-]?key|access[_-]?key|private[_-]?key|account[_-]?key|x-amz-sig"
)
#: A value in quotes of its own, with escapes; in quotes that are escaped themselves; or bare.
_VALUE: Final = (
    r"""(?:b(?=[\\"']))?(?:"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?|\\+"(?:[^"\\\n]|\\(?!"))*+(?:\\+")?"""
    r"""|(?:(?:bearer|basic|digest|token|negotiate)\s+)?[^\s&;,"'(){}\[\]<>]++)"""
)
#: A database or a broker: passwords may hold anything, so all up to the last @ is taken.
_STORE: Final = re.compile(
    r"(?i)(?<![a-z0-9+.-])((?:postgres\w{0,16}|amqps?|redis\w?|mysql|mongodb(?:\+srv)?"
    r"|kafka|nats|mssql|oracle)(?:\+\w{1,16})?[:/]{1,3})([^\s\"<>]*+)"
)
_PATTERNS: Final = (
    (re.compile(r"(?i)(cookie\\*[\"']?\s{0,4}[:=,]\s{0,4}b?\\*[\"']?)[^\r\n\"']*+"), rf"\1{GONE}"),
    (
        re.compile(r"(?i)(?<![a-z0-9+.-])([a-z][a-z0-9+.-]{0,30}://)[^\s/?#@\"'<>]*+@"),
        rf"\1{GONE}@",
    ),
    (
        re.compile(
            rf"(?i)((?:{_NAME})[\w-]{{0,32}}\\*[\"']\]?\s{{0,4}}(?::|=>?|,)\s{{0,4}}){_VALUE}"
        ),
        rf"\1{GONE}",
    ),
    (
        re.compile(rf"(?i)((?:{_NAME})[\w-]{{0,32}}\s{{0,4}}=\s{{0,4}}){_VALUE}"),
        rf"\1{GONE}",
    ),
    (
        re.compile(
            r"(?i)((?:password|passwd|pwd|secret|authorization|cookie|api[_-]?key|access[_-]?key)"
            rf"[\w-]{{0,32}}\s{{0,4}}:\s{{0,4}}){_VALUE}"
        ),
        rf"\1{GONE}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[a-z0-9._~+/=-]{8,}"), rf"\1\2{GONE}"),
    (re.compile(r"\b(tsk_[0-9a-f]{16}_)[0-9a-f]+"), rf"\1{GONE}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), f"whsec_{GONE}"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), GONE),
    (
        re.compile(r"(-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----)[^-]{0,16384}"),
        rf"\1{GONE}",
    ),
)
#: Without one of these in it, a text fits no pattern.
_SIGNS: Final = (
    "://", ":/", "pass", "pwd", "secret", "token", "credential", "signature", "authorization",
    "cookie", "key", "x-amz-sig", "bearer", "basic", "tsk_", "whsec_", "eyj", "postgres", "amqp",
)  # fmt: skip

_learned: set[str] = set()
_learned_pattern: re.Pattern[str] | None = None


def learn(*secrets: str | None) -> None:
    """Take ``secrets`` out of whatever leaves the process from now on, in whatever form."""
    global _learned_pattern  # noqa: PLW0603 - a process has its secrets once
    for each in secrets:
        text = (each or "").strip()
        for form in {text, unquote(text)}:
            if len(form) >= LEARNED_CHARACTERS_MIN and len(_learned) < LEARNED_MAX:
                _learned.add(form)
    if _learned:
        longest_first = sorted(_learned, key=len, reverse=True)
        _learned_pattern = re.compile("|".join(map(re.escape, longest_first)))


def learn_url(url: str | None) -> None:
    """Learn the password that is in ``url``, which may be malformed, or a list of parameters.

    A driver that reads a malformed one takes a part of the password for a host or a port, and
    quotes that; so each part is learned, too, where the password has signs that divide URLs.
    """
    if not url:
        return
    for found in re.finditer(r"(?i)password\s*=\s*('(?:[^'\\]|\\.)*+'?|[^\s&]++)", url):
        learn(found[1].strip("'"))
    before, at, _ = url.rpartition("@")
    if not at:
        return
    user, colon, password = re.sub(r"^[a-zA-Z0-9+.-]*:?/*", "", before, count=1).partition(":")
    if not colon:
        return
    parts = [each for each in re.split(r"[@/:?#%&=\s]", password) if each != user]
    if len(parts) > 1:
        _learned.update(each for each in parts if len(each) >= PART_CHARACTERS_MIN)
    learn(password)


def redacted(text: str) -> str:
    """Return ``text`` without secrets."""
    if _learned_pattern is not None:
        text = _learned_pattern.sub(GONE, text)
    low = text.lower()
    if not any(sign in low for sign in _SIGNS):
        return text
    text = _STORE.sub(_without_user, text)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _without_user(found: re.Match[str]) -> str:
    _, at, after = found[2].rpartition("@")
    return f"{found[1]}{GONE}@{after}" if at else found[0]
