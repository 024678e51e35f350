"""Which addresses a stranger's task may reach."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from taskscheduler.adapters.web.addresses import Opened, literal, reason_against
from taskscheduler.adapters.web.calling import checked
from taskscheduler.application.http_target.handler import TargetRefused
from taskscheduler.domain.errors import InvalidConfiguration

CLOSED = {
    "unspecified": ["0.0.0.1", "0.1.2.3", "::", "::ffff:0.0.0.0"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
    "private": [
        *("10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
        *("fc00::1", "fd00:ec2::254", "fdff:ffff::1", "::ffff:10.1.2.3", "64:ff9b::a00:1"),
    ],
    "link-local": ["169.254.0.1", "169.254.169.254", "fe80::1", "::ffff:169.254.169.254"],
    "shared by a provider": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "a cloud's metadata": ["168.63.129.16", "64:ff9b::a83f:8110"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["192.0.0.192", "240.0.0.1", "255.255.255.255", "2001:10::1"],
    "for documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "for benchmarks": ["198.18.0.1", "198.19.255.255"],
    "6to4": ["192.88.99.1", "2002:7f00:1::", "2002:808:808::"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "site-local": ["fec0::1"],
    "not global": ["::127.0.0.1", "64:ff9b:1::7f00:1", "100::1", "5f00::1", "4000::1"],
}
OPEN = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.1"),
    *("126.255.255.255", "128.0.0.1", "169.253.255.255", "172.15.255.255", "172.32.0.1"),
    *(
        "192.167.255.255",
        "223.255.255.255",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ),
]


@pytest.mark.parametrize(
    ("address", "reason"), [(each, why) for why, several in CLOSED.items() for each in several]
)
def test_what_is_not_public_is_closed(address: str, reason: str):
    assert reason_against(ip_address(address)) == reason


@pytest.mark.parametrize("address", OPEN)
def test_what_is_public_is_open(address: str):
    assert reason_against(ip_address(address)) is None


@pytest.mark.parametrize(
    "url",
    [
        *("http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://017700000001/"),
        *("http://127.1/", "http://0177.0.0.1/", "http://127.0.0.1.5/", "http://256.1.1.1/"),
        *(
            "http://\uff11\uff12\uff17.0.0.1/",
            "http://%31%32%37.0.0.1/",
            "http://[fe80::1%25eth0]/",
        ),
        *("http://[::1/", "http:///x", "http:", "", "//example.com/", "example.com"),
        *("file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "unix:/run/x"),
        *("http://user@example.com/", "http://user:word@example.com/", "http://a\\@example.com/"),
        *("http://exa mple.com/", "http://a\r\nb/", "http://example.com:0/"),
        *("http://example.com:65536/", "http://example.com:x/", "http://a\0b/"),
    ],
)
def test_a_url_in_another_form_is_refused(url: str):
    with pytest.raises(TargetRefused, match="not a URL that can be called"):
        checked(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/a?b=c#d", "example.com"),
        ("HTTP://EXAMPLE.com.:8080", "example.com."),
        ("http://[2606:4700::1111]/", "2606:4700::1111"),
        ("http://1.1.1.1:80/", "1.1.1.1"),
        ("https://xn--mnchen-3ya.de/", "xn--mnchen-3ya.de"),
        ("http://my_service/", "my_service"),
    ],
)
def test_an_honest_url_is_taken(url: str, host: str):
    assert checked(url).raw_host.decode() == host


def test_names_are_no_addresses():
    assert literal("localhost") is None
    assert literal("1.example.com") is None
    assert literal("127.0.0.1") == ip_address("127.0.0.1")


@pytest.mark.parametrize(
    ("entry", "opened", "closed"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ("10.0.0.0/8", "10.9.9.9", "11.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
        ("[::1]", "::1", "::2"),
        ("fd00::/8", "fd12::1", "fc00::1"),
    ],
)
def test_a_network_is_opened(entry: str, opened: str, closed: str):
    allowed = Opened.of([entry])
    assert allowed.address(ip_address(opened))
    assert not allowed.address(ip_address(closed))


def test_hosts_are_opened_by_name():
    allowed = Opened.of(["Billing", "*.corp.example"])
    assert allowed.host("billing.")
    assert allowed.host("a.b.CORP.example")
    assert not allowed.host("corp.example")
    assert not allowed.host("billing.evil.example")
    assert not allowed.host("evilcorp.example")


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "10.0.0.0/33", "a b", "*", "http://x", "", "x:80"])
def test_an_entry_that_means_nothing_is_refused(entry: str):
    with pytest.raises(InvalidConfiguration, match="--http-allow"):
        Opened.of([entry])
