"""The folder of a policy file: what lies there, and what of it the policy reads.

It looks at the files once more, as they are written: of a certificate that stands there twice, or
of a private key beside it, the policy itself knows nothing any more.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509

from siptls import pem
from siptls.errors import CertificateError, ConfigurationError
from siptls.policytables import PUBLIC
from siptls.trust.fault import describe
from siptls.trust.findings import Finding, FindingCode, Severity
from siptls.trust.names import listed, printable

__all__ = ["folder_findings"]

# What certificates and CRLs are called.
_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".crl"})
_KEY = b"PRIVATE KEY-----"


def folder_findings(policy: Path, also_named: Iterable[Path] = ()) -> Iterator[Finding]:
    """Find what is odd about the files of a policy that has been loaded.

    Args:
        policy: The policy file. It is sound: `load_policy` has read it.
        also_named: Files beside it that something else names.
    """
    tables = tomllib.loads(pem.read(policy)[1].decode("utf-8-sig"))
    rows: list[tuple[str, Mapping[str, Any]]] = []
    if "enterprise" in tables:
        rows.append(("enterprise", tables["enterprise"]))
    rows += [(f"partner[{place}]", row) for place, row in enumerate(tables.get("partner", ()))]
    if "discovery" in tables:
        rows.append(("discovery", tables["discovery"]))
    named = {policy.resolve(), *(path.resolve() for path in also_named)}
    for where, row in rows:
        yield from _of_authority(f"{where}.authority", policy.parent, _texts(row["authority"]))
        for key in ("authority", "crls", "ocsp"):
            named |= {(policy.parent / text).resolve() for text in _files(_texts(row.get(key)))}
    unnamed = sorted(printable(path.name) for path in _beside(policy) - named)
    if unnamed:
        found = f"{'has' if len(unnamed) == 1 else 'have'} no place in the policy"
        yield Finding(Severity.NOTE, FindingCode.FILE_UNNAMED, listed(unnamed), found)


def _texts(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _files(texts: Iterable[str]) -> list[str]:
    """Those that name a file: neither PEM text nor the public CAs."""
    return [text for text in texts if "-----BEGIN" not in text and text != PUBLIC]


def _of_authority(where: str, folder: Path, texts: list[str]) -> Iterator[Finding]:
    found: list[x509.Certificate] = []
    for text in texts if texts != [PUBLIC] else ():
        name, data = pem.read(text.encode() if "-----BEGIN" in text else folder / text)
        found += pem.certificates(name, data)
        if _KEY in data:
            about = f"{where}: {name}"
            what = "has a private key in it"
            yield Finding(Severity.WARNING, FindingCode.FILE_PRIVATE_KEY, about, what)
    for anchor in dict.fromkeys(found):
        if (count := found.count(anchor)) > 1:
            about, what = f"{where}: {describe(anchor)}", f"stands there {count} times"
            yield Finding(Severity.NOTE, FindingCode.ANCHOR_TWICE, about, what)


def _beside(policy: Path) -> set[Path]:
    """The files beside the policy that may hold certificates; private keys alone are none."""
    try:
        beside = sorted(policy.parent.iterdir())
    except OSError:  # a folder may be entered, and not be listed
        return set()
    return {
        path.resolve()
        for path in beside
        if path.suffix.lower() in _SUFFIXES and os.path.isfile(path) and _is_public(path)  # noqa: PTH113  pathlib's raises where a link leads to what we may not see
    }


def _is_public(path: Path) -> bool:
    """Whether a file holds certificates or CRLs, as far as it can be read, and no private key.

    What lies beside its key is somebody's own: nobody has forgotten to trust it.
    """
    try:
        _, data = pem.read(path)
        if _KEY in data:
            return False
        return b"-----BEGIN X509 CRL" in data or bool(pem.certificates(str(path), data))
    except (CertificateError, ConfigurationError):
        return False
