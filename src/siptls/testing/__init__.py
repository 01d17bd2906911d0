"""For tests, yours and ours: a SIP PKI in memory, and connections without sockets.

A policy is a pure function, so a test of it is three lines::

    ca = CertificateAuthority("Contoso Enterprise CA")
    policy = Enterprise(["contoso.com"], ca.authority())
    assert_accepts(policy, ca.issue("sip:contoso.com"))

With pytest there are fixtures, too: ``sip_ca``, ``enterprise``, ``partner_ca`` and ``partner``.
"""

from siptls.testing.expectations import assert_accepts, assert_refuses
from siptls.testing.pairs import connected, exchange
from siptls.testing.pki import CertificateAuthority, evidence, pem

__all__ = [
    "CertificateAuthority",
    "assert_accepts",
    "assert_refuses",
    "connected",
    "evidence",
    "exchange",
    "pem",
]
