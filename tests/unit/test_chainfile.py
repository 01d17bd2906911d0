"""siptls.cli.chainfile: a chain in a file, in the forms that people have it in."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from siptls import CertificateError, ConfigurationError
from siptls.cli.chainfile import read_chain
from siptls.testing import CertificateAuthority, pem

FABRIKAM = CertificateAuthority("Fabrikam CA", seed="chainfile")
LEAF = FABRIKAM.intermediate("Issuing CA").issue("a.example")


def test_a_chain_is_read_leaf_first_and_its_key_is_not(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    file.write_bytes(pem(LEAF, password="x"))
    assert read_chain(file) == LEAF.chain
    assert len(LEAF.chain) == 2


def test_one_certificate_may_be_in_binary_form(tmp_path: Path) -> None:
    file = tmp_path / "leaf.cer"
    file.write_bytes(LEAF.chain[0].public_bytes(Encoding.DER))
    assert read_chain(file) == LEAF.chain[:1]


def test_a_file_that_is_no_chain_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    with pytest.raises(ConfigurationError, match="No such file"):
        read_chain(file)
    for content, told in (
        (b"nothing", "is no certificate, neither in PEM form nor in DER"),
        (b"-----BEGIN NOTHING-----", "has no certificate; give the peer's own first"),
        (FABRIKAM.pem.replace(b"MII", b"!!!"), "cannot be read"),
    ):
        file.write_bytes(content)
        with pytest.raises(CertificateError, match=told):
            read_chain(file)
