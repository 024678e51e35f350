"""Under which names the service is called, and by whom: what callers say of both is checked.

A page from elsewhere can give its own name this machine's address, and then calls the service as
its own (DNS rebinding). It cannot choose the ``Host`` that the browser sends, so that names which
are not ours are refused where no key is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.domain.errors import InvalidConfiguration, TaskSchedulerError
from taskscheduler.entrypoints.http.errors import ForeignHost, UnclearHost, described
from taskscheduler.entrypoints.http.middleware.browser_security import ALWAYS, NOT_KEPT, NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from litestar import Response
    from litestar.types import ASGIApp, Receive, Scope, Send

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
KNOWN: Final = "taskscheduler.host_known"
"""In the scope of a request whose ``Host`` is a name of the service."""
PROBES: Final = frozenset({"/healthz", "/readyz"})
HOST_CHARACTERS_MAX: Final = 261
FORWARDED_CHARACTERS_MAX: Final = 1024
FORWARDED_MAX: Final = 20
HOST: Final = re.compile(
    r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::[0-9]{0,5})?", re.IGNORECASE
)
NAME: Final = re.compile(
    r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?|\[[0-9a-f:.]{2,45}\]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Which names the service has.

    ``insist``: whoever calls it by another one is refused. ``probed``: except for its health, which
    probes ask of an address that only they know.
    """

    names: frozenset[str] = LOCAL
    domains: tuple[str, ...] = ()
    insist: bool = False
    probed: bool = False

    @classmethod
    def of(
        cls, allowed: Sequence[str], *, bound: str | None = None, insist: bool, probed: bool = False
    ) -> Hosts:
        """Return the hosts of ``--allowed-host``, this machine's own, and the address ``bound``.

        Raises:
            InvalidConfiguration: one of them is no host.
        """
        names, domains = set(LOCAL), list[str]()
        if bound is not None:
            names.add(f"[{bound}]" if ":" in bound else bound)
        for each in allowed:
            if each == "*":
                insist = False
                continue
            host = f"[{each}]" if is_address(each) and ":" in each else each.rstrip(".")
            if not NAME.fullmatch(host):
                message = (
                    f"--allowed-host {each!r} is no host; expected such as tasks.example.org, "
                    "*.example.org or an address, without a port"
                )
                raise InvalidConfiguration(message)
            if host.startswith("*."):
                domains.append(host[1:].lower())
            else:
                names.add(host.lower())
        return cls(names=frozenset(names), domains=tuple(domains), insist=insist, probed=probed)

    def know(self, host: str) -> bool:
        """Tell whether ``host``, as the header has it, is a name of the service."""
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().removesuffix(".")
        return name in self.names or any(name.endswith(domain) for domain in self.domains)

    def check(self, scope: Any) -> None:
        """Note in ``scope`` whether the host is known. Raises UnclearHost, ForeignHost."""
        if self.probed and scope["path"] in PROBES:
            return
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1:
            if given or (self.insist and scope["http_version"] != "1.0"):
                raise UnclearHost
            return
        host = given[0].decode("latin-1")
        if len(host) > HOST_CHARACTERS_MAX:
            raise UnclearHost
        if self.know(host):
            scope[KNOWN] = True
        elif self.insist:
            raise ForeignHost(host)


def is_address(text: str) -> bool:
    """Tell whether ``text`` is an IP address."""
    return address_of(text) is not None


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address in ``text``, with or without a port; None if there is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        # A zone is a name of somebody's own; a mapped address is the one that it maps.
        return None if found.scope_id else found.ipv4_mapped or found
    return found


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose word on callers' addresses is taken: those of ``--trusted-proxy``."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Proxies:
        """Read addresses and networks. Raises InvalidConfiguration for anything else."""
        networks: list[IPv4Network | IPv6Network] = []
        for each in entries:
            try:
                networks.append(ip_network(each.removeprefix("[").removesuffix("]")))
            except ValueError as error:
                message = (
                    f"--trusted-proxy {each!r}: expected an address or a network as in "
                    f"10.0.0.0/8 ({error})"
                )
                raise InvalidConfiguration(message) from None
        return cls(tuple(networks))

    def trust(self, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether ``address`` is one of them."""
        return any(address in network for network in self.networks)

    def believed(self, scope: Any) -> None:
        """Put into ``scope`` where the call came from, and how, if a trusted proxy says so.

        ``X-Forwarded-For`` is read from its end, where the nearest proxy wrote: the first address
        that is not a proxy's is the caller's. What is no address is nobody's: then the caller's
        address is not known.
        """
        client = scope.get("client")
        nearest = None if client is None else address_of(client[0])
        if nearest is None or not self.trust(nearest):
            return
        said: list[str] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                said.append(value[-FORWARDED_CHARACTERS_MAX:].decode("latin-1"))
            elif name == b"x-forwarded-proto" and value in {b"http", b"https"}:
                scope["scheme"] = value.decode()
        if said:
            scope["client"] = self._furthest(",".join(said)[-FORWARDED_CHARACTERS_MAX:])

    def _furthest(self, said: str) -> tuple[str, int] | None:
        found = None
        for each in reversed(said.split(",")[-FORWARDED_MAX:]):
            found = address_of(each)
            if found is None or not self.trust(found):
                break
        return None if found is None else (str(found), 0)


def called(app: ASGIApp, hosts: Hosts, proxies: Proxies) -> ASGIApp:
    """Return ``app``, which hears only calls that are for it, and from where they came."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                hosts.check(scope)
            except TaskSchedulerError as error:
                await _answer(send, described(error))
                return
            if proxies.networks:
                proxies.believed(scope)
        await app(scope, receive, send)

    return call


async def _answer(send: Send, answer: Response[bytes]) -> None:
    """Send ``answer``, whose headers nobody else completes."""
    content = bytes(answer.content)
    headers = [
        (b"content-type", str(answer.media_type).encode()),
        (b"content-length", str(len(content)).encode()),
        *ALWAYS,
        NOT_KEPT,
        NOTHING,
    ]
    status = answer.status_code or 500
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})
