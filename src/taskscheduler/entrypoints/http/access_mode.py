"""Whether the service asks for keys: decided by the options and the address it listens on."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from taskscheduler.application.client.api_keys import KeyAuthenticator
from taskscheduler.domain.errors import InvalidConfiguration
from taskscheduler.entrypoints.http.middleware.access import Access, RateLimit
from taskscheduler.entrypoints.http.middleware.hosts import Hosts, Proxies
from taskscheduler.entrypoints.settings import AccessMode

if TYPE_CHECKING:
    import socket

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.entrypoints.settings import ApiSettings

ORIGIN: Final = re.compile(r"https?://[^/?#@\s]+", re.ASCII)
SAID: Final = {
    AccessMode.OPEN: "open to all who reach it; no key is asked for",
    AccessMode.KEYS: "by key: taskscheduler keys add NAME --scope read|write|admin",
}


def access_mode(settings: ApiSettings, listening: socket.socket) -> AccessMode:
    """Return how the service is to be started on the address that ``listening`` is bound to.

    Raises:
        InvalidConfiguration: it would be open where others reach it, or options contradict.
    """
    host: str = listening.getsockname()[0]
    local = ip_address(host.partition("%")[0]).is_loopback
    mode = settings.access or (AccessMode.OPEN if local or settings.insecure else AccessMode.KEYS)
    if mode is AccessMode.OPEN and not local and not settings.insecure:
        message = (
            f"--access open on {host}: anybody who reaches that address could store and delete "
            "tasks; leave it at keys, or say --insecure"
        )
        raise InvalidConfiguration(message)
    if mode is AccessMode.OPEN and settings.rate_limit is not None:
        message = "--rate-limit counts by key: it needs --access keys"
        raise InvalidConfiguration(message)
    for origin in settings.cors_origins:
        if origin != "*" and (ORIGIN.fullmatch(origin) is None or not urlsplit(origin).hostname):
            message = f"--cors-origin {origin!r} is no origin; expected such as https://example.org"
            raise InvalidConfiguration(message)
    # What they are is asked for again later; what is wrong in them is said before anything begins.
    hosts_of(mode, settings, listening)
    Proxies.of(settings.trusted_proxies)
    return mode


def hosts_of(mode: AccessMode, settings: ApiSettings, listening: socket.socket) -> Hosts:
    """Return the names under which the service is called; raises InvalidConfiguration.

    Where it is open on this machine alone, others are refused: any page that a user of the machine
    looks at could use it otherwise. Elsewhere they are refused if ``--allowed-host`` names any.
    """
    bound: str = listening.getsockname()[0].partition("%")[0]
    address = ip_address(bound)
    local = mode is AccessMode.OPEN and address.is_loopback
    return Hosts.of(
        settings.allowed_hosts,
        bound=None if address.is_unspecified else bound,
        insist=local or bool(settings.allowed_hosts),
        probed=not local,
    )


def access_of(mode: AccessMode, settings: ApiSettings, scheduler: Scheduler) -> Access | None:
    """Return how the service is closed; None where it is open."""
    if mode is AccessMode.OPEN:
        return None
    clock = scheduler.store.clock
    limit = None if settings.rate_limit is None else RateLimit(settings.rate_limit, clock)
    return Access(gate=KeyAuthenticator(scheduler.store.keys, clock), limit=limit)
