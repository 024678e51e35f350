"""Secrets in files: ``DATABASE_URL_FILE`` names a file that holds what ``DATABASE_URL`` would say.

So they come as Docker, Kubernetes and systemd hand them over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.domain.redaction import learn, learn_url

if TYPE_CHECKING:
    from collections.abc import MutableMapping

URLS: Final = (
    "DATABASE_URL",
    "TASKSCHEDULER_DATABASE_URL",
    "TASKSCHEDULER_LISTEN_URL",
    "TASKSCHEDULER_WAKEUPS",
)
IN_FILES: Final = (*URLS, "TASKSCHEDULER_WEBHOOK_SECRET")
OTHERS: Final = ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Read by drivers; here they are only kept out of what is shown."""
SUFFIX: Final = "_FILE"
BYTES_MAX: Final = 64 * 1024


def read_files(environment: MutableMapping[str, str]) -> None:
    """Put what the files hold into ``environment``, in place of their names.

    Raises:
        InvalidConfiguration: one cannot be read, or a secret is given in both ways.
    """
    for name in IN_FILES:
        file = environment.get(name + SUFFIX)
        if not file:
            continue
        if environment.get(name):
            message = f"{name} and {name}{SUFFIX} are both set; give one of them"
            raise InvalidConfiguration(message)
        environment[name] = _content(name + SUFFIX, file)
        # Processes that this one starts have the value, and would find it given twice.
        del environment[name + SUFFIX]


def learn_all(environment: MutableMapping[str, str]) -> None:
    """Keep the secrets in ``environment`` out of all that is shown from now on."""
    for name in URLS:
        learn_url(environment.get(name))
    learn(*(environment.get(name) for name in OTHERS))
    learn(*environment.get("TASKSCHEDULER_WEBHOOK_SECRET", "").replace(",", " ").split())


def _content(name: str, file: str) -> str:
    try:
        content = Path(file).read_bytes()[: BYTES_MAX + 1].decode().strip()
    except OSError as error:
        message = f"{name}: {file} cannot be read: {error.strerror}"
        raise InvalidConfiguration(message) from None
    except UnicodeDecodeError:
        content = ""
    if not content or len(content) > BYTES_MAX or "\0" in content:
        message = f"{name}: {file} holds no text of up to {BYTES_MAX} bytes"
        raise InvalidConfiguration(message)
    return content
