"""Upkeep: what of a trust map has to be renewed, and what of it is of no use.

How it thinks. It looks at each authority once, whoever uses it, and at what lies there: anchors,
CRLs, OCSP responses. What makes one of them useless is asked of those who would refuse a peer for
it (``profile``, ``crl``, ``ocsp``, ``endings``), so that no rule stands here a second time. The
public CAs as a whole are not taken apart: who packages them cares for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from attrs import field, frozen
from cryptography import x509

from siptls.trust.authority import Authority
from siptls.trust.codes import Code
from siptls.trust.constraints import outside
from siptls.trust.endings import EndingKind, EndingNotice, Reminder, endings_of_authority
from siptls.trust.evidence import Role, extension
from siptls.trust.fault import Fault, describe
from siptls.trust.findings import Finding, FindingCode, Severity
from siptls.trust.names import listed, printable
from siptls.trust.presented import NameKind, PresentedName
from siptls.trust.profile import ca_fault, date_fault
from siptls.trust.purposes import is_server_only
from siptls.trust.revocation import Revocation, RevocationMode
from siptls.trust.trustmap import Party, PartyKind, TrustMap

__all__ = ["thresholds", "upkeep_findings"]

# Days before the end of what lives shorter than twice the days that were asked for: CRLs last a
# week. `Reminder` leaves out what is too long for a life.
_SHORT = (7.0, 1.0)
_ENDED = {
    EndingKind.CRL: FindingCode.CRL_ENDED,
    EndingKind.OCSP: FindingCode.OCSP_ENDED,
}
_ENDS_SOON = {
    EndingKind.ANCHOR: FindingCode.ANCHOR_ENDS_SOON,
    EndingKind.CRL: FindingCode.CRL_ENDS_SOON,
    EndingKind.OCSP: FindingCode.OCSP_ENDS_SOON,
}
_WHAT = {
    EndingKind.ANCHOR: "anchor",
    EndingKind.CRL: "CRL of",
    EndingKind.OCSP: "",
}
_OF_ANYBODY = {PartyKind.STRANGERS, PartyKind.ANYBODY}  # of these no domain has to work
_UNUSABLE = {
    Code.PATH_WEAK_KEY: FindingCode.ANCHOR_WEAK_KEY,
    Code.PURPOSE_UNACCEPTABLE: FindingCode.ANCHOR_PURPOSE,
}


def thresholds(days: float) -> tuple[float, ...]:
    """Give the days before an end from which on it is told: those asked for, and shorter ones."""
    return (days, *(one for one in _SHORT if one < days))


def upkeep_findings(
    trust_map: TrustMap, now: datetime, days: float, cas: Iterable[x509.Certificate] = ()
) -> Iterator[Finding]:
    """Find what has to be renewed, or is of no use.

    Args:
        trust_map: Who vouches for whom.
        now: The time; aware.
        days: How long before an end it is told.
        cas: Intermediate CAs that are known to be in use: their CRLs are not strange.
    """
    users: dict[Authority, list[Party]] = {}
    for party in trust_map.parties:
        if party.authority is not None:
            users.setdefault(party.authority, []).append(party)
    known = tuple(cas)
    for authority, parties in users.items():
        ca = trust_map.ca_of(parties[0])
        is_bundle = ca is not None and ca.is_bundle
        yield from _Upkeep(authority, parties, now, days, known, is_bundle).findings()


@frozen
class _Upkeep:
    """The upkeep of one authority."""

    authority: Authority
    parties: list[Party]
    now: datetime
    days: float
    known: tuple[x509.Certificate, ...]
    is_bundle: bool
    _valid: frozenset[x509.Certificate] = field(init=False)

    @_valid.default
    def _find_valid(self) -> frozenset[x509.Certificate]:
        return frozenset(a for a in self.authority.anchors if date_fault(a, self.now) is None)

    @property
    def whose(self) -> str:
        """The authority, and who rests on it."""
        titles = listed((party.title for party in self.parties), 3)
        return f"{printable(self.authority.name)} ({titles})"

    def findings(self) -> Iterator[Finding]:
        if not self.is_bundle:
            for anchor in self.authority.anchors:
                yield from self._of_anchor(anchor)
            yield from self._of_names()
        elif not self._valid:
            found = f"has {len(self.authority.anchors)} anchors, none of which is valid"
            advice = "install a newer certifi, which packages the public CAs"
            code = FindingCode.ANCHOR_EXPIRED
            yield Finding(Severity.ERROR, code, self.whose, found, advice=advice)
        yield from self._of_endings()
        if self.authority.revocation is not None:
            yield from self._of_revocation(self.authority.revocation)

    # ------------------------------------------------------------ anchors

    @property
    def _severity(self) -> Severity:
        """Of an anchor that is of no use: another may do instead of it."""
        return Severity.WARNING if self._valid else Severity.ERROR

    def _of_anchor(self, anchor: x509.Certificate) -> Iterator[Finding]:
        about = f"{self.whose}: anchor {describe(anchor)}"
        fault = date_fault(anchor, self.now)
        if fault is not None:
            yield self._not_valid(about, anchor, fault)
        try:
            yield from self._of_content(about, anchor)
        except Exception as error:  # noqa: BLE001  cryptography raises at least five kinds
            found = f"cannot be used: {error}"
            yield Finding(Severity.ERROR, FindingCode.ANCHOR_UNUSABLE, about, found)

    def _of_content(self, about: str, anchor: x509.Certificate) -> Iterator[Finding]:
        faults = self._faults(anchor)
        if faults:
            yield self._unusable(about, faults)
        elif is_server_only(anchor):
            found = "has EKU serverAuth only"
            yield Finding(Severity.NOTE, FindingCode.CA_SERVER_ONLY, about, found)
        above = [
            other
            for other in self.authority.anchors
            if other != anchor and other.subject == anchor.issuer != anchor.subject
        ]
        if above:
            found = f"is an intermediate, whose issuer {describe(above[0])} is an anchor, too"
            yield Finding(Severity.NOTE, FindingCode.ANCHOR_REDUNDANT, about, found)

    def _not_valid(self, about: str, anchor: x509.Certificate, fault: Fault) -> Finding:
        is_over = fault.code is Code.PATH_EXPIRED
        code = FindingCode.ANCHOR_EXPIRED if is_over else FindingCode.ANCHOR_NOT_YET_VALID
        when = anchor.not_valid_after_utc if is_over else anchor.not_valid_before_utc
        advice = code.advice
        if is_over and self._valid:
            advice = "take it out: another anchor beside it is valid, and this one is of no use"
        severity = self._severity
        if not is_over and self._valid:
            severity = Severity.NOTE  # as a CA changes its root
        return Finding(severity, code, about, fault.found, when=when, advice=advice)

    def _faults(self, anchor: x509.Certificate) -> dict[Role, Fault]:
        """What keeps it from vouching, for peers of which role."""
        purposes = self.authority.purposes
        asked = {role: ca_fault(anchor, purposes, role, is_anchor=True) for role in Role}
        return {role: fault for role, fault in asked.items() if fault is not None}

    def _unusable(self, about: str, faults: dict[Role, Fault]) -> Finding:
        fault = next(iter(faults.values()))
        code = _UNUSABLE.get(fault.code, FindingCode.ANCHOR_UNUSABLE)
        if len(faults) == len(Role):
            return Finding(Severity.ERROR, code, about, fault.found, expected=fault.expected)
        roles = listed(f"{role}s" for role in faults)
        found = f"{fault.found}, so that it can vouch for no {roles}"
        return Finding(Severity.WARNING, code, about, found, expected=fault.expected)

    def _of_names(self) -> Iterator[Finding]:
        """Find domains for which no anchor may vouch, as its nameConstraints say."""
        limits = [extension(anchor, x509.NameConstraints) for anchor in self.authority.anchors]
        for party in self.parties:
            names = party.domains if party.edge is None else (party.edge,)
            for name in () if party.kind in _OF_ANYBODY else names:
                held = ((PresentedName(NameKind.URI, f"sip:{name}", domain=name), name),)
                if not all(
                    limit is not None and outside(limit, held, anchor)
                    for limit, anchor in zip(limits, self.authority.anchors, strict=True)
                ):
                    continue
                found, severity = f"may not issue for {name}", Severity.ERROR
                if party.edge is None and any(_is_below(limit, name) for limit in limits):
                    found, severity = f"{found}, only for names below it", Severity.WARNING
                told = f"{found}: its nameConstraints forbid it"
                yield Finding(severity, FindingCode.ANCHOR_NAMES, self.whose, told)

    # ------------------------------------------------------------ dates

    def _of_endings(self) -> Iterator[Finding]:
        endings = endings_of_authority(self.authority)
        if self.is_bundle:
            endings = [one for one in endings if one.kind is not EndingKind.ANCHOR]
        for notice in Reminder(thresholds(self.days)).due(self.now, endings):
            yield from self._of_notice(notice)

    def _of_notice(self, notice: EndingNotice) -> Iterator[Finding]:
        kind, when = notice.ending.kind, notice.ending.when
        about = f"{self.whose}: {f'{_WHAT[kind]} {notice.ending.name}'.strip()}"
        if not notice.has_ended:
            yield Finding(Severity.WARNING, _ENDS_SOON[kind], about, notice.found, when=when)
        elif kind in _ENDED:
            yield Finding(self._of_mode, _ENDED[kind], about, notice.found, when=when)

    # ------------------------------------------------------------ revocation

    @property
    def _of_mode(self) -> Severity:
        """How bad it is that a status cannot be known."""
        revocation = self.authority.revocation
        mode = RevocationMode.OFF if revocation is None else revocation.mode
        return {
            RevocationMode.REQUIRE: Severity.ERROR,
            RevocationMode.SOFT: Severity.WARNING,
            RevocationMode.OFF: Severity.NOTE,
        }[mode]

    def _of_revocation(self, revocation: Revocation) -> Iterator[Finding]:
        issuers = tuple(filter(_is_readable, (*self.authority.anchors, *self.known)))
        count = len(revocation.crls) + len(revocation.ocsp)
        if revocation.mode is RevocationMode.OFF:
            if count:
                found = f"has {count} CRLs and OCSP responses, and revocation is off"
                yield Finding(Severity.NOTE, FindingCode.REVOCATION_UNUSED, self.whose, found)
            return
        yield from self._of_crls(revocation, issuers)
        for response in revocation.ocsp:
            if not any(response.is_of(issuer) for issuer in issuers):
                about, code = f"{self.whose}: {response.name}", FindingCode.OCSP_UNKNOWN_ISSUER
                found = "tells of no certificate of its CAs"
                yield Finding(Severity.WARNING, code, about, found)
        useful = any(crl.is_of(one) for crl in revocation.crls for one in self.authority.anchors)
        if not useful and not revocation.ocsp and revocation.source is None:
            mode = revocation.mode
            found = f"has revocation {mode}, and neither a CRL of an anchor nor an OCSP response"
            code = FindingCode.REVOCATION_NOTHING_KNOWN
            advice = code.advice
            if mode is RevocationMode.SOFT:
                advice = (
                    "give the CA's CRL (crls), or fetch it (FetchingSource): without either"
                    " whoever is revoked is accepted, unless he staples it himself"
                )
            yield Finding(Severity.WARNING, code, self.whose, found, advice=advice)

    def _of_crls(
        self, revocation: Revocation, issuers: tuple[x509.Certificate, ...]
    ) -> Iterator[Finding]:
        for crl in revocation.crls:
            about = f"{self.whose}: {crl.name}"
            claimed = [issuer for issuer in issuers if crl.is_of(issuer)]
            if not claimed:
                found, code = "is that of none of its CAs", FindingCode.CRL_UNKNOWN_ISSUER
                yield Finding(Severity.WARNING, code, about, found)
                continue
            faults = [crl.fault(issuer) for issuer in claimed]
            if all(faults):
                yield Finding(self._of_mode, FindingCode.CRL_UNUSABLE, about, faults[0])
            elif crl.next_update is None:
                found = "has no nextUpdate, and so may be of any age"
                yield Finding(self._of_mode, FindingCode.CRL_NO_END, about, found)


def _is_readable(ca: x509.Certificate) -> bool:
    """Whether its key can be asked; where not, its anchor is told to be of no use."""
    try:
        ca.public_key()
    except Exception:  # noqa: BLE001  cryptography raises at least five kinds
        return False
    return True


def _is_below(limits: x509.NameConstraints | None, domain: str) -> bool:
    """Whether a CA may issue for some names below a domain, and for no others of it."""
    permitted = () if limits is None else limits.permitted_subtrees or ()
    names = [one.value.lower() for one in permitted if isinstance(one, x509.DNSName)]
    return any(name.endswith(f".{domain}") for name in names)
