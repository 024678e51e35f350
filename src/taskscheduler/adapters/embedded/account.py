"""Whom PostgreSQL's programs run as: they refuse to be root."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Account"]


@dataclass(frozen=True, slots=True)
class Account:
    """Whom PostgreSQL's programs run as: ourselves, unless we are root, which they refuse."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    @classmethod
    def for_data(cls, data: Path, cluster: Path, program: Path) -> Account:
        """Choose the data's owner, or an unprivileged account for data yet to be made."""
        owner = cluster.stat().st_uid if cluster.exists() else None
        if os.geteuid() != 0:
            if owner not in {None, os.geteuid()}:
                msg = f"the database in {cluster} belongs to another account (uid {owner})"
                raise InvalidConfiguration(msg)
            return cls(os.geteuid(), os.getegid())
        account = _unprivileged(owner)
        become = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}")
        for powers in _POWERS:
            prefix = (*become, "--clear-groups", *powers)
            if _reaches(prefix, data, program):
                return cls(account.pw_uid, account.pw_gid, prefix)
        msg = (
            f"PostgreSQL refuses to run as root, and the account {account.pw_name!r} cannot be "
            f"given access to {data} and {program}: run this as an ordinary user"
        )
        raise InvalidConfiguration(msg)


def _powers(capability: str) -> tuple[str, ...]:
    # Without no_setuid_fixup, access(2), by which PostgreSQL looks for itself, ignores them.
    caps = f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"
    return (*caps, "--securebits=+no_setuid_fixup")


_POWERS: Final = ((), _powers("dac_read_search"), _powers("dac_override"))
"""What may let an unprivileged account through folders that only root may enter, least first.

Containers commonly withhold the second and grant the third.
"""


def _unprivileged(owner: int | None) -> pwd.struct_passwd:
    candidates = [account for account in pwd.getpwall() if account.pw_uid != 0]
    for account in candidates:
        if account.pw_uid == owner:
            return account
    for name in ("postgres", "nobody"):
        for account in candidates:
            if account.pw_name == name:
                return account
    msg = "PostgreSQL refuses to run as root and there is no account 'postgres' or 'nobody'"
    raise InvalidConfiguration(msg)


def _reaches(prefix: tuple[str, ...], folder: Path, program: Path) -> bool:
    try:
        ran = subprocess.run(  # noqa: S603 - the wheel's own program
            [*prefix, "env", f"--chdir={folder}", program, "--version"],
            capture_output=True,
            check=False,
            text=True,
        )
    except FileNotFoundError:  # there is no setpriv
        return False
    return ran.returncode == 0 and "Permission denied" not in ran.stderr
