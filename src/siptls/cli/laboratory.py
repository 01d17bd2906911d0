"""A laboratory: two companies, their CAs, certificates and policies, and prepared faults.

Nothing is written here: what is made are names and bytes, and `siptls.cli.folder` writes them. All
that stands in it is for trying things out, and each CA says so in its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from siptls.cli.folder import Document
from siptls.errors import ConfigurationError
from siptls.testing import CertificateAuthority, pem
from siptls.trust.codes import Code
from siptls.trust.names import parents, parse_domain, printable
from siptls.wire.credential import Credential

__all__ = ["MARK", "Laboratory", "issue", "make_laboratory", "read_ca"]

MARK = "LAB ONLY"
"""With this the name of each CA begins: the end of a common name may be cut off."""

_DAY = timedelta(days=1)
_BOTH = ("serverAuth", "clientAuth")
# A TLS certificate's key signs, and does nothing else (RFC 8446 §4.4.2.2).
_LEAF_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@frozen
class Laboratory:
    """What a new laboratory has.

    Attributes:
        domain: Our own domain.
        partner: That of the federation partner.
        ends: When all of it ends.
        documents: The files, README.md among them.
    """

    domain: str
    partner: str
    ends: datetime
    documents: tuple[Document, ...]


def make_laboratory(domain: str, partner: str, *, now: datetime, days: int) -> Laboratory:
    """Make a laboratory.

    Args:
        domain: Our own domain, such as ``contoso.com``.
        partner: That of the federation partner, such as ``fabrikam.com``.
        now: Aware. All is valid from a day before.
        days: For how many days from now.

    Raises:
        ConfigurationError: One of them is no domain, or below the other.
    """
    ours, theirs = parse_domain(domain), parse_domain(partner)
    if ours in parents(theirs) or theirs in parents(ours):
        raise ConfigurationError(
            f"{theirs} is no partner of {ours}: two companies have domains of which none is the"
            " other, or below it; say which with --domain and --partner"
        )
    ends = now + days * _DAY
    begin = now - _DAY

    def authority(what: str) -> CertificateAuthority:
        name = f"{MARK} {what}"
        return CertificateAuthority(name, path_length=0, not_before=begin, not_after=ends)

    enterprise = authority(f"enterprise CA of {ours}")
    partners = authority(f"partner CA of {theirs}")

    def made(ca: CertificateAuthority, *names: str) -> Credential:
        return issue(ca, names, begin=begin, ends=ends)

    def company(name: str) -> tuple[str, ...]:
        return f"sip:{name}", name, f"sip.{name}"

    pc = f"pc.{ours}"
    revoked = made(enterprise, f"sip:{ours}", f"lost.{ours}")
    der = enterprise.crl([revoked], this_update=begin, next_update=ends)
    crl = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)  # as Kamailio and OpenSSL read it
    documents = [
        *_of_ca("enterprise", enterprise, f"the CA of {ours}"),
        Document(
            "enterprise.crl", crl, f"what the CA of {ours} has revoked: impostors/revoked.pem"
        ),
        *_of_ca("partner", partners, f"the CA of {theirs}, the federation partner"),
        _of(
            "server.pem",
            made(enterprise, *company(ours)),
            f"certificate and key of a server of {ours}",
        ),
        _of(
            "client.pem",
            made(enterprise, f"sip:{pc}", pc),
            f"certificate and key of a client, {pc}",
        ),
        _of(
            "partner.pem",
            made(partners, *company(theirs)),
            f"certificate and key of a server of {theirs}",
        ),
        Document(
            "policy.toml",
            _policy(f"Whom {ours} believes.", (ours, "enterprise"), (theirs, "partner")),
            f"whom {ours} believes: its own CA, the partner's for the partner, and no revoked one",
        ),
        Document(
            "partner-policy.toml",
            _policy(f"Whom {theirs} believes.", (theirs, "partner"), (ours, "enterprise")),
            f"whom {theirs} believes: the same from the other side",
        ),
    ]
    faults = _faults(ours, (enterprise, partners), revoked, now=now, ends=ends)
    page = _readme((ours, theirs), ends, documents, faults)
    documents += [_of(one.file, one.credential, one.about) for one in faults]
    documents += [Document("README.md", page.encode(), "all of this in words")]
    return Laboratory(ours, theirs, ends, tuple(documents))


def issue(
    ca: CertificateAuthority,
    names: Iterable[str],
    *,
    begin: datetime,
    ends: datetime,
    purposes: Iterable[str] | None = _BOTH,
) -> Credential:
    """Issue a certificate that other TLS programs take, too.

    It has the extensions that RFC 5280 §4.2.1 asks for: keyUsage and both key identifiers.

    Args:
        ca: Who issues it.
        names: The subjectAltName, as in `CertificateAuthority.issue`. At least one.
        begin: Aware.
        ends: Aware. It ends with its CA, if that ends before.
        purposes: The EKU, as in `CertificateAuthority.issue`; None for none.

    Raises:
        ConfigurationError: A name or purpose that no certificate can have.
    """
    presented = tuple(names)
    for name in presented:
        _check(name)
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return ca.issue(
        *presented,
        key=key,
        purposes=purposes,
        extensions=[(_LEAF_USAGE, True), (identifier, False)],
        not_before=begin,
        not_after=min(ends, ca.certificate.not_valid_after_utc),
    )


def read_ca(folder: Path, which: str, *, now: datetime) -> CertificateAuthority:
    """Read the ``enterprise`` or ``partner`` CA of a laboratory.

    Args:
        folder: The laboratory.
        which: Which of the two.
        now: Aware.

    Raises:
        ConfigurationError: A file cannot be read, or it is no CA of a laboratory, or it has ended.
        CertificateError: One of them cannot be decoded, or they do not belong together.
    """
    files = folder / f"{which}-ca.pem", folder / f"{which}-ca.key"
    ca = CertificateAuthority.from_pem(*files)
    if not ca.name.startswith(MARK):
        raise ConfigurationError(
            f"the CA in {files[0]} is {printable(ca.name)!r}, and no lab's: this issues for trying"
            " things out only; make a lab with: siptls pki init DIR"
        )
    if ca.certificate.not_valid_after_utc <= now:
        raise ConfigurationError(
            f"{ca.name!r} has ended, at {ca.certificate.not_valid_after_utc.isoformat()}, and"
            " whatever it issues ends with it; make a new lab with: siptls pki init DIR"
        )
    return ca


def _check(name: str) -> None:
    """Refuse what ASN.1 cannot hold, or what is a slip rather than a name."""
    if not name.strip() or not name.isascii() or not name.isprintable() or " " in name:
        raise ConfigurationError(
            f"{printable(name)!r} is no name for a certificate: write sip:contoso.com for a SIP"
            " domain, or a DNS name, an internationalised one as A-labels (xn--…)"
        )


def _of(name: str, credential: Credential, about: str) -> Document:
    return Document(name, pem(credential), about, is_secret=True)


def _of_ca(name: str, ca: CertificateAuthority, about: str) -> tuple[Document, Document]:
    key = ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (
        Document(f"{name}-ca.pem", ca.pem, about),
        Document(f"{name}-ca.key", key, "its private key, to issue more", is_secret=True),
    )


def _policy(title: str, own: tuple[str, str], partner: tuple[str, str]) -> bytes:
    lines = [f"# {title} {MARK}: its CAs are for trying things out."]
    for table, (domain, ca) in (("[enterprise]", own), ("[[partner]]", partner)):
        lines += ["", table, f'domains = ["{domain}"]', f'authority = "{ca}-ca.pem"']
        lines += ['crls = ["enterprise.crl"]'] if ca == "enterprise" else []
    return "\n".join([*lines, ""]).encode()


# ---------------------------------------------------------------- prepared faults


@frozen
class _Fault:
    """A credential that something is wrong with, and what policy.toml makes of it.

    Attributes:
        name: Of its file.
        credential: What is shown.
        about: What is wrong.
        as_server: The code, if a server shows it of whom our domain is expected.
        as_client: The code, if a client shows it.
    """

    name: str
    credential: Credential
    about: str
    as_server: str
    as_client: str

    @property
    def file(self) -> str:
        return f"impostors/{self.name}.pem"


def _faults(
    domain: str,
    cas: tuple[CertificateAuthority, CertificateAuthority],
    revoked: Credential,
    *,
    now: datetime,
    ends: datetime,
) -> list[_Fault]:
    enterprise, partners = cas
    begin = now - _DAY
    names = f"sip:{domain}", domain

    def made(ca: CertificateAuthority, *names: str, **other: Any) -> Credential:
        return issue(ca, names, **{"begin": begin, "ends": ends, **other})

    ended = made(enterprise, *names, begin=now - 30 * _DAY, ends=now - _DAY)
    sound_elsewhere = made(enterprise, f"sip:other.{domain}")
    stranger = CertificateAuthority(f"{MARK} unknown CA", not_before=begin, not_after=ends)
    half = made(enterprise, *names, purposes=["serverAuth"])
    alone = _self_signed(domain, names, begin=begin, ends=ends)
    accepted, expired, unknown = Code.ACCEPTED, Code.PATH_EXPIRED, Code.PATH_UNKNOWN_CA
    out, gone, mismatch = Code.NAME_OUT_OF_SCOPE, Code.PATH_REVOKED, Code.NAME_MISMATCH
    one_way = 'for serverAuth only, as public CAs have it: refused where purposes = "ROLE"'
    return [
        _Fault("expired", ended, "it ended yesterday", expired, expired),
        _Fault(
            "wrong-name",
            sound_elsewhere,
            f"sound, but of another server, other.{domain}",
            mismatch,
            accepted,
        ),
        _Fault(
            "out-of-scope",
            made(partners, *names),
            f"the partner's CA vouches for {domain}, as it may not",
            out,
            out,
        ),
        _Fault("self-signed", alone, "it vouches for itself", unknown, unknown),
        _Fault("unknown-ca", made(stranger, *names), "of a CA that nobody knows", unknown, unknown),
        _Fault("server-auth-only", half, one_way, accepted, accepted),
        _Fault("revoked", revoked, "it is on enterprise.crl", gone, gone),
    ]


def _self_signed(
    domain: str, names: Iterable[str], *, begin: datetime, ends: datetime
) -> Credential:
    """Make a certificate that its own key has signed, and that is no CA's."""
    key = ec.generate_private_key(ec.SECP256R1())
    itself = CertificateAuthority(domain, key=key)
    return itself.issue(*names, common_name=domain, key=key, not_before=begin, not_after=ends)


# ---------------------------------------------------------------- what is said about it


def _readme(
    domains: tuple[str, str],
    ends: datetime,
    documents: Iterable[Document],
    faults: Iterable[_Fault],
) -> str:
    ours, theirs = domains
    files = "\n".join(f"| `{one.name}` | {one.about} |" for one in documents)
    refused = "\n".join(
        f"| `{one.file}` | {one.about} | `{one.as_server}` | `{one.as_client}` |" for one in faults
    )
    return f"""\
# {MARK}: certificates for trying things out

`siptls pki init` has made this folder. **Do not use it in production.** The private keys of its
CAs lie here, not encrypted: whoever can read them can be anybody. Put none of these CAs where
others believe it. All of it ends at {ends:%Y-%m-%d %H:%M} UTC; make a new one then.

Two companies: {ours} is ours, {theirs} is a federation partner with a CA of its own.

| file | what |
|---|---|
{files}

Whatever has a key in it can be read by its owner only. A program that runs as another user needs
a copy.

## Who is refused, and why

Each of these is a certificate with its key. A server that shows it is asked for `sip:{ours}`;
the codes are what `policy.toml` says.

| file | what is wrong | as a server | as a client |
|---|---|---|---|
{refused}

## More of them

`siptls pki issue . sip:phone.{ours}` issues one of our CA; `--ca partner` one of the partner's.
"""
