"""Which name is expected when DNS has chosen the host."""

from __future__ import annotations

import pytest

from siptls import ConfigurationError, DNSTrust, ReferenceIdentity
from siptls.trust.dnstrust import IS_DNS_TRUST

DOMAIN = ReferenceIdentity.parse("contoso.com")
# What DNS says: the domain itself, a host below it, hosts of others.
HOSTS = ["contoso.com", "sip.contoso.com", "sip.evil.example", "notcontoso.com", "com"]


@pytest.mark.parametrize(
    ("dns_trust", "believed"),
    [
        (DNSTrust.UNTRUSTED, []),
        (DNSTrust.STRICT, ["contoso.com", "sip.contoso.com"]),
        (DNSTrust.TRUSTED, HOSTS),
    ],
)
def test_which_hosts_are_expected(dns_trust: DNSTrust, believed: list[str]) -> None:
    for host in HOSTS:
        expected = dns_trust.expected(DOMAIN, host)
        assert expected.domain == "contoso.com"
        assert expected.host == (host if host in believed else None)


@pytest.mark.parametrize("dns_trust", list(DNSTrust))
def test_what_the_application_has_said_stays(dns_trust: DNSTrust) -> None:
    """No answer of DNS takes the place of a host, or of an address, that was set by hand."""
    assert dns_trust.expected(DOMAIN, None) is DOMAIN
    by_hand = ReferenceIdentity.parse("contoso.com", host="edge.contoso.com")
    assert dns_trust.expected(by_hand, "sip.contoso.com") is by_hand
    address = ReferenceIdentity.for_address("192.0.2.1")
    assert dns_trust.expected(address, "sip.contoso.com") is address


def test_what_is_no_dns_trust_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"dns_trust is a DNSTrust, not a bool"):
        IS_DNS_TRUST.check("dns_trust", True)
