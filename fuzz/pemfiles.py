"""Any bytes as a PEM file: of a CA, or of our own certificate and key."""

from __future__ import annotations

import contextlib

from fuzz.pki import CONTOSO, VALID
from siptls import Authority, CertificateError, ConfigurationError, Credential
from siptls.testing import pem

LENGTH = 2500
OURS = CONTOSO.intermediate("Contoso Issuing CA", **VALID).issue("sip:contoso.com", **VALID)
STAPLE = CONTOSO.ocsp(OURS, this_update=VALID["not_before"], next_update=VALID["not_after"])
_CERTIFICATE = pem(OURS)


def target(data: bytes) -> None:
    """The first byte says what it is read as."""
    if not data:
        return
    text = data[1:]
    with contextlib.suppress(ConfigurationError, CertificateError):
        match data[0] % 4:
            case 0:
                authority = Authority.from_pem("CA", text)
                assert authority.anchors
                assert authority.subjects == {one.subject for one in authority.anchors}
            case 1:
                check_credential(Credential.from_pem(text))
            case 2:
                check_credential(Credential.from_pem(text, _CERTIFICATE, password="x"))  # noqa: S106
            case _:
                check_credential(Credential.from_pem(_CERTIFICATE, staple=text))


def check_credential(credential: Credential) -> None:
    """Assert that the key is that of the first certificate, and shown to nobody."""
    own = credential.chain[0].public_key()
    assert credential.key.public_key() == own
    assert "PRIVATE" not in repr(credential)
    assert credential.expires.tzinfo is not None
    with contextlib.suppress(ValueError):  # names that cannot be decoded are told as such
        assert str(credential.names).isprintable()
