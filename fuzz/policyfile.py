"""Any bytes as a policy file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fuzz import chains, statuses
from fuzz.pki import CONTOSO, FABRIKAM, NOW, VALID
from siptls import ConfigurationError, Evidence, Role, TrustPolicy, dump_policy, load_policy
from siptls.testing import CertificateAuthority, pem

LENGTH = 1500
STRANGERS = CertificateAuthority("Contoso CA", seed="a stranger", **VALID)
_LIAR = STRANGERS.issue("sip:contoso.com", "sip:fabrikam.com", **VALID).chain
_STRANGE = [Evidence(chain, role, now=NOW) for chain in ((), _LIAR) for role in Role]
_FILES = {
    "ca.pem": CONTOSO.pem,
    "partner.pem": FABRIKAM.pem,
    "broken.pem": CONTOSO.pem.replace(b"MI", b"", 1),
    "leaf.pem": pem(chains.LEAVES["ours"]),
    "crl.der": statuses.CRLS["good"],
    "ocsp.der": statuses.RESPONSES["good"],
}
_folder = tempfile.TemporaryDirectory(prefix="siptls-fuzz-")
FOLDER = Path(_folder.name)
for _name, _content in _FILES.items():
    (FOLDER / _name).write_bytes(_content)
_POLICY, _AGAIN = FOLDER / "policy.toml", FOLDER / "again.toml"


def target(data: bytes) -> None:
    """All of it is the file; those that it may name stand beside it."""
    _POLICY.write_bytes(data)
    try:
        policy = load_policy(_POLICY)
    except ConfigurationError as error:
        fault = error
    else:
        check(policy, data)
        return
    assert all(one in str(fault) for one in fault.faults)


def check(policy: TrustPolicy, data: bytes) -> None:
    """Assert that a policy believes no stranger, and is what its text says."""
    for evidence in _STRANGE:
        assert not policy.evaluate(evidence).accepted
    try:
        text = dump_policy(policy)
    except ConfigurationError:
        assert b"ocsp" in data  # there is no text form of them
        return
    _AGAIN.write_text(text, encoding="utf-8")
    assert load_policy(_AGAIN) == policy
