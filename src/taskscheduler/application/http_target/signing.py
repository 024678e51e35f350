"""Signatures that a receiver can check, as Standard Webhooks describes them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.redaction import learn

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how a secret begins
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64


class Signer:
    """Signs with every secret it holds, so that receivers can move from one to the next."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Each secret is base64 of 24 to 64 random bytes; the prefix ``whsec_`` may stand before.

        Raises:
            InvalidConfiguration: a secret is not; the message does not show it.
        """
        learn(*secrets)
        self._keys = [_key(secret, number) for number, secret in enumerate(secrets, 1)]

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return what goes with ``body``; nothing where there is no secret.

        ``timestamp`` is in whole seconds since 1970.
        """
        if not self._keys:
            return {}
        signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
        signatures = [
            b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
            for key in self._keys
        ]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": b" ".join(signatures).decode(),
        }


def _key(secret: str, number: int) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        message = (
            f"--webhook-secret: secret {number} must be whsec_ and the base64 of "
            f"{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        )
        raise InvalidConfiguration(message)
    return key
