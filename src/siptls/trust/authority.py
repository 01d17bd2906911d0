"""Authority: trust anchors, and the proof that they vouch for a certificate.

How it thinks. ``cryptography``'s path builder (`ClientVerifier`) does the search, the signatures,
the dates, basicConstraints with path lengths, and the name constraints of the kinds that it
knows. It serves for both roles, because its server twin knows no ``sip:`` names and matches
wildcards. It is told to leave extensions to us, for its web rules are not those of SIP; what that
drops is put back by ``profile.py`` and ``constraints.py``, in two places:

* what a *CA* certificate must satisfy is asked inside the search (`_ca_rules`), so that a second
  path is found where the first one fails; name constraints on SIP names are among it;
* what the *leaf* must satisfy is asked on the path that was found: it is the same on every path.

Whether any of it is revoked is asked last, of the path that was found. No other path is looked for
if it is: a CA that has taken a certificate back has said so about each path through it.

When no path is found, `Diagnosis` says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable
from datetime import datetime

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification

from siptls import pem
from siptls.arguments import Kind, check_list
from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.constraints import held_names, outside
from siptls.trust.decision import Decision
from siptls.trust.diagnosis import Diagnosis, anchor_of, top_of, unknown_issuer
from siptls.trust.evidence import MAX_SEARCHES, Evidence, extension
from siptls.trust.fault import Fault, describe
from siptls.trust.profile import ca_fault, leaf_fault
from siptls.trust.purposes import KeyPurposes
from siptls.trust.revocation import Revocation, RevocationMode

__all__ = ["Authority", "ProvenPath"]


@frozen
class ProvenPath:
    """A path that an authority has proven; nothing else makes one.

    Attributes:
        chain: Leaf first, trust anchor last.
        authority: Who proved it.
        expires: The earliest notAfter on the path; where `RevocationMode.REQUIRE` asks for it, the
            earliest end of what its status rests on, if that comes before. Aware.
        notes: What an operator should know of it all the same.
    """

    chain: tuple[x509.Certificate, ...]
    authority: Authority
    expires: datetime
    notes: tuple[str, ...] = ()


def _as_anchors(value: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Take the anchors, each once. All must be CAs before a store is made of them."""
    if isinstance(value, x509.Certificate):
        raise ConfigurationError("anchors are a list: write Authority(name, [certificate])")
    check_list("anchors", value)
    anchors = tuple(dict.fromkeys(value))
    if not anchors:
        raise ConfigurationError(
            "an authority without a trust anchor could trust nobody: pass the root certificate of"
            " its CA"
        )
    faults = [
        f"{_named(anchor)}: {fault}" for anchor in anchors if (fault := _anchor_fault(anchor))
    ]
    if faults:
        raise ConfigurationError(
            "anchors that are no CA certificate; pass the CA's own certificate instead."
            f" {'; '.join(faults)}"
        )
    return anchors


@frozen(cache_hash=True)
class _Search:
    """What the outcome of a search depends on, beside the evidence."""

    anchors: tuple[x509.Certificate, ...]
    purposes: KeyPurposes
    revocation: Revocation | None


@frozen
class _Found:
    """A path that was found, whoever asked for it."""

    chain: tuple[x509.Certificate, ...]
    expires: datetime
    notes: tuple[str, ...] = ()


@frozen(cache_hash=True)
class Authority:
    """A CA that may vouch for others: a name for people, its trust anchors, its key purposes.

    Each authority searches among its own anchors only. There is no merged store: in one, a
    partner's CA could vouch for our own names.

    Attributes:
        name: Shown in explanations and in `BelievedName.authority`.
        anchors: CA certificates, self-signed or not; at least one.
        purposes: Which extended key usages are asked for.
        revocation: How it is found out whether a certificate is revoked. None: nobody asks.

    Raises:
        ConfigurationError: No anchor, or one that is no CA certificate.
    """

    name: str
    anchors: tuple[x509.Certificate, ...] = field(converter=_as_anchors)
    purposes: KeyPurposes = field(
        default=KeyPurposes.SIP,
        kw_only=True,
        validator=Kind(KeyPurposes, "take a preset such as KeyPurposes.SIP, or build your own"),
    )
    revocation: Revocation | None = field(
        default=None,
        kw_only=True,
        validator=Kind(Revocation, "write Revocation([crl]) around what is known", optional=True),
    )
    _key: _Search = field(init=False, repr=False, eq=False)
    _store: verification.Store = field(init=False, repr=False, eq=False)
    _subjects: dict[x509.Name, tuple[x509.Certificate, ...]] = field(
        init=False, repr=False, eq=False
    )

    @_key.default
    def _make_key(self) -> _Search:
        return _Search(self.anchors, self.purposes, self.revocation)

    @_store.default
    def _make_store(self) -> verification.Store:
        return verification.Store(list(self.anchors))

    @_subjects.default
    def _index(self) -> dict[x509.Name, tuple[x509.Certificate, ...]]:
        subjects: dict[x509.Name, tuple[x509.Certificate, ...]] = {}
        for anchor in self.anchors:
            subjects[anchor.subject] = (*subjects.get(anchor.subject, ()), anchor)
        return subjects

    @classmethod
    def from_pem(
        cls,
        name: str,
        *sources: pem.Source,
        purposes: KeyPurposes = KeyPurposes.SIP,
        revocation: Revocation | None = None,
    ) -> Authority:
        """Read the anchors from PEM files, or from PEM text given as bytes.

        Raises:
            ConfigurationError: A file cannot be read, has no certificate, or one of no CA.
            CertificateError: A certificate cannot be decoded.
        """
        if not sources:
            raise ConfigurationError(
                f"an authority has a name, and then its files: from_pem('Contoso CA', {name!r})"
            )
        anchors: list[x509.Certificate] = []
        for source in sources:
            origin, data = pem.read(source)
            found = pem.certificates(origin, data)
            if not found:
                raise ConfigurationError(
                    f"{origin} has no certificate: the CA's certificate in PEM form is wanted"
                )
            anchors += found
        return cls(name, anchors, purposes=purposes, revocation=revocation)

    @classmethod
    def public(
        cls, *, purposes: KeyPurposes = KeyPurposes.SIP, revocation: Revocation | None = None
    ) -> Authority:
        """Give the public CAs that Mozilla trusts, as packaged by ``certifi``."""
        import certifi  # noqa: PLC0415  it costs 10 ms, and most know their CA

        with warnings.catch_warnings():
            # A root of Mozilla's list has the serial number 0, which cryptography warns of. An
            # anchor is trusted for its key and its name; its serial number is never used.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return cls.from_pem(
                "public CAs", certifi.where(), purposes=purposes, revocation=revocation
            )

    @property
    def subjects(self) -> frozenset[x509.Name]:
        """The subjects of the anchors: what `Federation` finds an issuer by."""
        return frozenset(self._subjects)

    @property
    def remembered_under(self) -> Hashable | None:
        """``()``, but for one that asks for revocation: who is revoked may change at any time."""
        is_asked = self.revocation is not None and self.revocation.mode is not RevocationMode.OFF
        return None if is_asked else ()

    def verify(self, evidence: Evidence) -> ProvenPath | Decision:
        """Prove a path from the evidence to one of the anchors, at ``evidence.now``.

        Returns:
            The path, or a refusal whose code begins with ``certificate.``, ``path.`` or
            ``purpose.``. Names are no matter here.
        """
        found = evidence.fault or self._search(evidence)
        if isinstance(found, Fault):
            return Decision.refuse_for(found, by=f"authority {self.name}", evidence=evidence)
        return ProvenPath(found.chain, self, found.expires, found.notes)

    def _search(self, evidence: Evidence) -> _Found | Fault:
        """Find a path, once for each evidence and set of anchors."""
        if self._subjects.keys().isdisjoint(c.issuer for c in evidence.chain):
            # None of the anchors has issued any of it: no signature needs to be looked at.
            return unknown_issuer(top_of(evidence.chain), self.name)
        searches: dict[_Search, _Found | Fault]
        searches = evidence.memo.setdefault(_Search, {})
        if self._key not in searches:
            if len(searches) >= MAX_SEARCHES:
                found = f"may be issued by more than {MAX_SEARCHES} authorities of the same name"
                return Fault(Code.PATH_LIMIT, "the certificate", found, "fewer of them", "siptls")
            searches[self._key] = self._find(evidence)
        outcome = searches[self._key]
        if isinstance(outcome, Fault) and outcome.code == Code.PATH_UNKNOWN_CA:
            # Another authority with the same anchors may have found this: it is told by our name.
            return evolve(outcome, expected=anchor_of(self.name))
        return outcome

    def _find(self, evidence: Evidence) -> _Found | Fault:
        path = self._build(evidence)
        if path is None:
            return Diagnosis(self.name, self._subjects, self.purposes, evidence).fault()
        if fault := leaf_fault(path[0], self.purposes, evidence.role):
            return fault
        expires = min(certificate.not_valid_after_utc for certificate in path)
        if self.revocation is None:
            return _Found(path, expires)
        standing = self.revocation.check(path, evidence)
        if isinstance(standing, Fault):
            return standing
        return _Found(path, min(expires, standing.until or expires), standing.notes)

    def _build(self, evidence: Evidence) -> tuple[x509.Certificate, ...] | None:
        verifier = (
            verification.PolicyBuilder()
            .store(self._store)
            .time(evidence.now)
            .max_chain_depth(evidence.max_certificates)
            .extension_policies(
                ca_policy=self._ca_rules(evidence),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
            .build_client_verifier()
        )
        try:
            verified = verifier.verify(evidence.chain[0], list(evidence.chain[1:]))
        except verification.VerificationError:
            return None
        return tuple(verified.chain)

    def _ca_rules(self, evidence: Evidence) -> verification.ExtensionPolicy:
        """What is asked of each CA on a path, the anchor included."""
        held = held_names(evidence)

        def ask(
            _: verification.Policy, ca: x509.Certificate, __: x509.BasicConstraints | None
        ) -> None:
            is_anchor = ca in self._subjects.get(ca.subject, ())
            fault = ca_fault(ca, self.purposes, evidence.role, is_anchor=is_anchor)
            constraints = extension(ca, x509.NameConstraints)
            if fault is None and constraints is not None:
                fault = outside(constraints, held, ca)
            if fault is not None:
                raise ValueError(fault.reason)  # the path builder looks for another path

        # Every CA has basicConstraints, so that this is called once for each.
        return verification.ExtensionPolicy.permit_all().require_present(
            x509.BasicConstraints, verification.Criticality.AGNOSTIC, ask
        )


def _named(anchor: object) -> str:
    return describe(anchor) if isinstance(anchor, x509.Certificate) else repr(anchor)


def _anchor_fault(certificate: object) -> str:
    if not isinstance(certificate, x509.Certificate):
        return "it is no cryptography.x509.Certificate; Authority.from_pem reads files"
    try:
        certificate.subject  # noqa: B018  it decodes, and paths are found by it
        constraints = extension(certificate, x509.BasicConstraints)
    except Exception as error:  # noqa: BLE001  cryptography raises at least five kinds
        return f"it cannot be decoded ({error})"
    return "" if constraints is not None and constraints.ca else "it has no basicConstraints cA"
