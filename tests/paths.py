"""Authorities for tests of paths, and what they prove or refuse."""

from __future__ import annotations

from typing import Any

from certificates import Made, show
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from siptls import Authority, Code, Decision
from siptls.trust.authority import ProvenPath

NAME = "sip:contoso.com"


def trusting(*anchors: Made, **options: Any) -> Authority:
    return Authority("Contoso", [anchor.certificate for anchor in anchors], **options)


def path(authority: Authority, *chain: Made, **options: Any) -> list[x509.Certificate]:
    """Give the path that the authority proves; fail if it proves none."""
    result = authority.verify(show(*chain, **options))
    assert isinstance(result, ProvenPath), result
    return list(result.chain)


def refusal(authority: Authority, *chain: Made, **options: Any) -> tuple[Code, str]:
    """Give code and reason of the refusal; fail if there is none."""
    evidence = show(*chain, **options)
    result = authority.verify(evidence)
    assert isinstance(result, Decision), result
    assert not result.accepted
    assert result.evidence is evidence
    assert result.by == f"authority {authority.name}"
    return Code(result.code), result.reason


def certificates(*made: Made) -> list[x509.Certificate]:
    return [each.certificate for each in made]


def rsa_key(bits: int) -> rsa.RSAPublicKey:
    """Give a public key of that size; nobody has the private one."""
    return rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key()
