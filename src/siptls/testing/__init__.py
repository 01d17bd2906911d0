"""For tests, yours and ours: a SIP PKI in memory, and connections without sockets.

A policy is a pure function, so a test of it is three lines::

    ca = CertificateAuthority("Contoso Enterprise CA")
    policy = Enterprise(["contoso.com"], ca.authority())
    assert policy.evaluate(evidence(ca.issue("sip:contoso.com"))).accepted
"""

from siptls.testing.pairs import connected, exchange
from siptls.testing.pki import CertificateAuthority, evidence, pem

__all__ = ["CertificateAuthority", "connected", "evidence", "exchange", "pem"]
