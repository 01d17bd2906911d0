"""Certificates that a stranger has altered, or that a CA which we know has signed against us."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from fuzz.pki import CONTOSO, FABRIKAM, NOW, VALID, content, der, signed
from siptls import (
    Authority,
    Code,
    Decision,
    Enterprise,
    Evidence,
    Federation,
    NameRules,
    Partner,
    ReferenceIdentity,
    Role,
    TrustedServers,
)

LENGTH = 2048
OURS, THEIRS = "contoso.com", "fabrikam.com"
_AUTHORITY: Authority = FABRIKAM.authority()
_ENTERPRISE = Enterprise([OURS], CONTOSO.authority()) & TrustedServers([f"sip.{OURS}", OURS])
POLICIES = (
    _ENTERPRISE | Federation([Partner([THEIRS], _AUTHORITY)]),
    _ENTERPRISE | Federation([Partner([THEIRS], _AUTHORITY, names=NameRules.RFC9525)]),
    Federation([Partner([THEIRS], _AUTHORITY, names=NameRules.OCS, edge=f"edge.{THEIRS}")]),
    _ENTERPRISE,
)
EXPECTED = (
    None,
    ReferenceIdentity.parse(THEIRS),
    ReferenceIdentity.parse(OURS, host=f"sip.{OURS}"),
    ReferenceIdentity.parse(f"a.{THEIRS}"),
)

BELOW = FABRIKAM.intermediate("Fabrikam Issuing CA", permitted=[THEIRS], **VALID)
LEAVES = {
    "ours": CONTOSO.issue(f"sip:{OURS}", f"sip.{OURS}", **VALID),
    "theirs": FABRIKAM.issue(f"sip:{THEIRS}", f"sip.{THEIRS}", **VALID),
    "wildcard": FABRIKAM.issue(f"*.{THEIRS}", f"edge.{THEIRS}", common_name=THEIRS, **VALID),
    "liar": FABRIKAM.issue(f"sip:{OURS}", f"sip:{THEIRS}", f"sip.{OURS}", **VALID),
    "many": FABRIKAM.issue(
        *(f"sip:alice@{THEIRS}", f"sips:{THEIRS}", f"_sips.{THEIRS}", "192.0.2.1", THEIRS), **VALID
    ),
    "below": BELOW.issue(f"sip:{THEIRS}", **VALID),
}
# What is signed. The signature itself has several spellings: of its last bits that are zero, some
# may be said to be unused, and cryptography does not care; and of r and s, ECDSA takes -s as well.
GENUINE = {leaf.chain[0].tbs_certificate_bytes for leaf in LEAVES.values()}
_BELOW = x509.load_der_x509_certificate(der(LEAVES["below"].chain[0]))


def fields(certificate: x509.Certificate) -> bytes:
    """Give what is signed of a certificate, without what holds it together."""
    return content(certificate.tbs_certificate_bytes)


def target(data: bytes) -> None:
    """The first byte says who is asked by whom, and what follows.

    It is a chain of certificates; or the fields of a leaf, or of a CA above a leaf, that the
    partner's CA shall sign.
    """
    if len(data) < 2:
        return
    flags = data[0]
    what, policy, expected = flags & 3, POLICIES[flags >> 2 & 3], EXPECTED[flags >> 4 & 3]
    is_forged = what >= 2
    try:
        if not is_forged:
            chain = list(_certificates(data[1:]))
        else:
            made = x509.load_der_x509_certificate(signed(data[1:], FABRIKAM))
            chain = [made] if what == 2 else [_BELOW, made]
    except (ValueError, x509.InvalidVersion):
        return  # nobody has evidence of what cannot be read
    role = Role.SERVER if flags & 0x40 else Role.CLIENT
    evidence = Evidence(chain, role, now=NOW, reference=expected)
    assert repr(evidence).isprintable()
    decision = policy.evaluate(evidence)
    check(decision, chain)
    assert is_forged or not decision.accepted or chain[0].tbs_certificate_bytes in GENUINE


def _certificates(data: bytes) -> Iterator[x509.Certificate]:
    """Read certificates that stand one after the other."""
    while data:
        size = 4 + int.from_bytes(data[2:4], "big") if data[1:2] == b"\x82" else len(data)
        yield x509.load_der_x509_certificate(data[:size])
        data = data[size:]


def check(decision: Decision, chain: list[x509.Certificate]) -> None:
    """Assert that nothing failed inside, and that nobody is believed out of scope."""
    for one in _tree(decision):
        assert one.code != Code.POLICY_ERROR, one.reason
    assert decision.explain().replace("\n", "").isprintable()
    assert decision.to_dict()["accepted"] is decision.accepted
    peer = decision.peer
    if peer is None:
        return
    vouches = {CONTOSO.certificate: OURS, FABRIKAM.certificate: THEIRS}[peer.chain[-1]]
    assert peer.chain[0] == chain[0]
    assert peer.names
    assert not peer.addresses
    assert peer.expires >= NOW
    written = der(chain[0]).lower()
    for name in peer.names:
        assert f".{name.name}".endswith(f".{vouches}")
        # Each stands there; or is below a wildcard, or the domain of an edge that stands there.
        above = name.via or name.name
        assert above.encode() in written or b"*." + above.partition(".")[2].encode() in written
    for user in peer.users:
        assert f".{user.rpartition('@')[2]}".endswith(f".{vouches}")
    assert peer.enterprise <= ({OURS} if vouches == OURS else set())
    assert vouches == OURS or not peer.trusted_server


def _tree(decision: Decision) -> Iterator[Decision]:
    yield decision
    for part in decision.parts:
        yield from _tree(part)
