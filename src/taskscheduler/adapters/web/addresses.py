"""Which addresses may be called: public ones, and those that an operator opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Written out, for ``is_global`` differs between the patch releases of Python.
_CLOSED_4: Final = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_CLOSED_6: Final = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
    )
)
_GLOBAL_6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_HOST_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?\.?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d+|0[xX][0-9a-fA-F]*")


def reason_against(address: Address) -> str | None:
    """Say why ``address`` is not one to call for a stranger; None if it is."""
    address = embedded(address)
    if isinstance(address, IPv4Address):
        closed: tuple[tuple[Network, str], ...] = _CLOSED_4
    else:
        closed = _CLOSED_6
    for network, what in closed:
        if address in network:
            return what
    if isinstance(address, IPv6Address) and address not in _GLOBAL_6:
        return "not global"
    return None


def embedded(address: Address) -> Address:
    """Return the IPv4 address that ``address`` reaches in the end, or ``address`` itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


@dataclass(frozen=True, slots=True)
class Opened:
    """What an operator opened beyond the public addresses."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Sequence[str]) -> Opened:
        """Read addresses, networks in CIDR form, host names and ``*.`` with a domain.

        Raises:
            InvalidConfiguration: an entry is none of them.
        """
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in entries:
            try:
                networks.append(ip_network(entry.removeprefix("[").removesuffix("]")))
            except ValueError as error:
                if (
                    "/" in entry
                    or ":" in entry
                    or not _HOST_NAME.fullmatch(entry.removeprefix("*."))
                ):
                    message = (
                        f"--http-allow {entry!r}: expected an address, a network as in "
                        f"10.0.0.0/8, a host name or *.domain ({error})"
                    )
                    raise InvalidConfiguration(message) from None
                hosts.add(entry.lower().removesuffix("."))
        return cls(tuple(networks), frozenset(hosts))

    def host(self, name: str) -> bool:
        """Tell whether the host ``name`` is open, whatever its address."""
        name = name.lower().removesuffix(".")
        if name in self.hosts:
            return True
        labels = name.split(".")
        return any("*." + ".".join(labels[n:]) in self.hosts for n in range(1, len(labels)))

    def address(self, address: Address) -> bool:
        """Tell whether ``address`` is open."""
        address = embedded(address)
        return any(address in network for network in self.networks)


def literal(host: str) -> Address | None:
    """Return the address that ``host`` is; None if it is a name.

    Raises:
        ValueError: it is an address in a form that programs read in different ways, such as
            ``0177.0.0.1``, ``2130706433`` or ``0x7f.1``, or one with a zone.
    """
    try:
        address = ip_address(host)
    except ValueError:
        last = host.removesuffix(".").rpartition(".")[2]
        if not _HOST_NAME.fullmatch(host) or _NUMBER.fullmatch(last):
            message = f"{host!r} is neither a host name nor an address in its usual form"
            raise ValueError(message) from None
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        message = f"{host!r} has a zone"
        raise ValueError(message)
    return address
