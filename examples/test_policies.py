"""Tests of a policy, without a socket, a file or a clock: ``pytest examples/test_policies.py``.

A policy is a pure function of what a peer shows, and so are its tests. The fixtures come with
siptls, as soon as it is installed beside pytest: ``enterprise`` is the policy of
enterprise.example, and ``sip_ca`` its CA; ``partner`` is partner.example, and ``partner_ca`` its
CA. If an assertion fails, its text is the policy's own explanation.
"""

from __future__ import annotations

import datetime as dt

import pytest

from siptls import Blocked, Enterprise, Federation, Partner, TrustedServers, TrustPolicy
from siptls.testing import CertificateAuthority, assert_accepts, assert_refuses


@pytest.fixture
def policy(enterprise: Enterprise, partner: Partner) -> TrustPolicy:
    """The policy that is tested: in your tests it is yours, such as that of a file."""
    servers = TrustedServers(["edge.enterprise.example"])
    return (enterprise & servers | Federation([partner])) & Blocked(["bad.partner.example"])


def test_our_edge_is_believed_by_its_name(
    policy: TrustPolicy, sip_ca: CertificateAuthority
) -> None:
    """It proves the name that was asked for."""
    edge = sip_ca.issue("sip:enterprise.example", "sip:edge.enterprise.example")
    assert_accepts(policy, edge, role="server", reference="sip:enterprise.example")
    assert_refuses(policy, edge, "name.mismatch", role="server", reference="sip:partner.example")


def test_a_server_that_is_not_listed_is_refused(
    policy: TrustPolicy, sip_ca: CertificateAuthority
) -> None:
    """Our own CA is not enough."""
    assert_refuses(policy, sip_ca.issue("sip:lab.enterprise.example"), "server.not-listed")


def test_a_partner_is_believed_for_its_domain_and_no_other(
    policy: TrustPolicy, partner_ca: CertificateAuthority
) -> None:
    """Its CA may not vouch for us."""
    both = partner_ca.issue("sip:partner.example", "sip:enterprise.example")
    assert_accepts(policy, both, domains=["partner.example"])
    assert_refuses(policy, partner_ca.issue("sip:enterprise.example"), "name.out-of-scope")


def test_a_blocked_domain_is_blocked_below_a_partner_too(
    policy: TrustPolicy, partner_ca: CertificateAuthority
) -> None:
    """What is blocked stands above what is believed."""
    assert_refuses(policy, partner_ca.issue("sip:bad.partner.example"), "partner.blocked")


@pytest.mark.parametrize(("days", "code"), [(-400, "path.not-yet-valid"), (400, "path.expired")])
def test_the_time_is_an_argument(
    policy: TrustPolicy, partner_ca: CertificateAuthority, days: int, code: str
) -> None:
    """What will be refused next year is known today."""
    then = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    assert_refuses(policy, partner_ca.issue("sip:partner.example"), code, now=then)


def test_nobody_is_believed_who_merely_says_so(policy: TrustPolicy) -> None:
    """A CA of the same name is another CA."""
    liar = CertificateAuthority("Enterprise CA")
    assert_refuses(policy, liar.issue("sip:edge.enterprise.example"), "path.signature")
