"""OCSP responses as a responder gives them, and a policy that wants one."""

from __future__ import annotations

import datetime as dt

from attrs import field, frozen
from certificates import BIT_STRING, ECDSA_SHA256, SEQUENCE, element
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from siptls import Credential, Decision, Evidence, TrustPolicy
from siptls.testing import CertificateAuthority

DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)

OCTET_STRING, CONTEXT_0 = 0x04, 0xA0
SUCCESSFUL = bytes.fromhex("0a0100")
BASIC_RESPONSE = bytes.fromhex("06092b0601050507300101")


def staple(
    ca: CertificateAuthority,
    credential: Credential,
    *,
    revoked: bool = False,
    until: dt.datetime | None = None,
    without_end: bool = False,
    nonce: bytes = b"",
) -> bytes:
    """Have a CA say whether a credential's own certificate is revoked; a nonce makes it long."""
    now = dt.datetime.now(dt.UTC)
    begin = now - HOUR
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=credential.chain[0],
        issuer=ca.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
        this_update=begin,
        next_update=None if without_end else until or now + DAY,
        revocation_time=begin if revoked else None,
        revocation_reason=None,
    )
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ca.certificate)
    return response.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.DER)


def together(ca: CertificateAuthority, *credentials: Credential) -> bytes:
    """Have a CA say in one response that none of these is revoked."""
    head, statuses = b"", b""
    for credential in credentials:
        response = ocsp.load_der_ocsp_response(staple(ca, credential))
        tbs = _content(response.tbs_response_bytes)
        end = 2 + tbs[1] + 17  # of the responder's identifier, and of producedAt
        head = tbs[:end]
        statuses += _content(tbs[end:])
    tbs = element(SEQUENCE, head + element(SEQUENCE, statuses))
    assert isinstance(ca.key, ec.EllipticCurvePrivateKey)
    signature = b"\x00" + ca.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    basic = element(SEQUENCE, tbs + ECDSA_SHA256 + element(BIT_STRING, signature))
    typed = element(SEQUENCE, BASIC_RESPONSE + element(OCTET_STRING, basic))
    return element(SEQUENCE, SUCCESSFUL + element(CONTEXT_0, typed))


def _content(der: bytes) -> bytes:
    return der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :]


def responder_error() -> bytes:
    """Give what a responder says that has no answer now."""
    busy = ocsp.OCSPResponseStatus.TRY_LATER
    return ocsp.OCSPResponseBuilder.build_unsuccessful(busy).public_bytes(Encoding.DER)


@frozen
class Requires:
    """Believes as another policy does, of those whose staple says that they are good.

    Attributes:
        policy: The other.
        soft: Whether it believes those of whom nothing is known, too.
        fails: Whether it raises when it is shown a staple.
        seen: The staple of each time that it was asked.
    """

    policy: TrustPolicy
    soft: bool = False
    fails: bool = False
    seen: list[bytes | None] = field(factory=list, eq=False)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Look at the status first."""
        self.seen.append(evidence.staple)
        unknown = Decision.refuse("path.revocation-unknown", "nothing is known")
        if evidence.staple is None:
            return self.policy.evaluate(evidence) if self.soft else unknown
        if self.fails:
            raise RuntimeError("no more")
        response = ocsp.load_der_ocsp_response(evidence.staple)
        assert evidence.leaf is not None
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return unknown
        if response.serial_number != evidence.leaf.serial_number:
            return unknown
        if response.certificate_status is not ocsp.OCSPCertStatus.GOOD:
            return Decision.refuse("path.revoked", "it is revoked")
        return self.policy.evaluate(evidence)
