"""Revocation: whether an issuer has taken back what it vouched for.

How it thinks. Everything is bytes that are there already: the OCSP response that the peer stapled,
the OCSP responses and CRLs that were given, and what a `RevocationSource` has in its cache. Nothing
is fetched while a peer is judged. Each certificate below the anchor is looked up with the next one
as its issuer; the anchor itself is trusted because somebody chose it, and nobody can revoke that.

Whoever says *revoked*, and may say it, is believed at once, whatever others say. Else one *good* is
enough. Else the status is not known, and every reason for that is told: `RevocationMode` says what
follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import islice, pairwise
from typing import Protocol, TypeVar

from attrs import field, frozen
from cryptography import x509

from siptls.arguments import kind_of
from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.crl import Crl
from siptls.trust.evidence import Evidence, Role, extension
from siptls.trust.fault import Fault, describe
from siptls.trust.names import printable
from siptls.trust.ocsp import StatusResponse
from siptls.trust.status import Answer, Status

__all__ = ["Revocation", "RevocationMode", "RevocationScope", "RevocationSource", "Standing"]

# Answers of sources that are kept after they were read: reading a long CRL takes a second. What a
# peer staples is not kept, so that no stranger empties this.
_MAX_READ = 64
# Reasons that a refusal repeats; each is a line.
_MAX_TOLD = 4


class RevocationMode(StrEnum):
    """What follows if it is not known whether a certificate is revoked.

    One that is known to be revoked is refused under ``REQUIRE`` and ``SOFT``.
    """

    REQUIRE = "require"
    """The peer is refused."""
    SOFT = "soft"
    """The peer is accepted, and a note tells it. Whoever can keep CRLs from us can do as much."""
    OFF = "off"
    """Nobody asks."""


class RevocationScope(StrEnum):
    """Which certificates of a path are looked up."""

    CHAIN = "chain"
    """All below the anchor."""
    LEAF = "leaf"
    """The peer's own."""


class RevocationSource(Protocol):
    """Who has CRLs and OCSP responses at hand: a cache that something else keeps fresh."""

    def known(
        self, certificate: x509.Certificate, issuer: x509.Certificate
    ) -> Iterable[bytes | Crl | StatusResponse]:
        """Give the CRLs and OCSP responses that may tell about a certificate: DER, or read already.

        It is called inside a handshake, so it never waits: what is not at hand is not given.
        """
        ...


_T = TypeVar("_T", Crl, StatusResponse)


def _read_all(
    name: str, what: str, kind: type[_T], read: Callable[[bytes], list[_T]], value: object
) -> tuple[_T, ...]:
    items = [value] if isinstance(value, bytes | kind) else value
    if isinstance(items, str) or not isinstance(items, Iterable):
        raise ConfigurationError(f"{name} are {what} as bytes, not {kind_of(value)}: read the file")
    found: list[_T] = []
    for number, item in enumerate(items):
        if isinstance(item, kind):
            found.append(item)
            continue
        if not isinstance(item, bytes):
            raise ConfigurationError(
                f"{name}[{number}] is {what} as bytes, not {kind_of(item)}: read the file"
            )
        try:
            found += read(item)
        except ValueError as error:
            raise ConfigurationError(
                f"{name}[{number}] cannot be used: {error}; {what} is wanted"
            ) from error
    return tuple(dict.fromkeys(found))


def _as_crls(value: bytes | Crl | Iterable[bytes | Crl]) -> tuple[Crl, ...]:
    return _read_all("crls", "a CRL in DER or PEM form", Crl, Crl.read_all, value)


def _as_responses(
    value: bytes | StatusResponse | Iterable[bytes | StatusResponse],
) -> tuple[StatusResponse, ...]:
    def read(der: bytes) -> list[StatusResponse]:
        return [StatusResponse.read(der)]

    return _read_all("ocsp", "an OCSP response in DER form", StatusResponse, read, value)


def _as_mode(value: RevocationMode | str) -> RevocationMode:
    try:
        return RevocationMode(value)
    except ValueError as error:
        raise ConfigurationError(
            f"a revocation mode is 'require', 'soft' or 'off', not {value!r}"
        ) from error


def _as_scope(value: RevocationScope | str) -> RevocationScope:
    try:
        return RevocationScope(value)
    except ValueError as error:
        raise ConfigurationError(
            f"a revocation scope is 'chain' or 'leaf', not {value!r}"
        ) from error


@frozen
class Standing:
    """That no certificate of a path is known to be revoked.

    Attributes:
        until: Until when that holds; aware. None if it does not end before the certificates do.
        notes: What an operator should know all the same.
    """

    until: datetime | None = None
    notes: tuple[str, ...] = ()


@frozen(cache_hash=True)
class Revocation:
    """How an `Authority` finds out whether what it vouches for is revoked.

    A leaf that promises a stapled response (RFC 7633, *must-staple*) is refused without a good one
    if it is that of a server, under ``REQUIRE`` and ``SOFT``.

    Args:
        crls: CRLs, each as DER, or as PEM, of which one text may hold several; no delta CRL and no
            indirect one.
        mode: What follows if the status is not known.
        ocsp: OCSP responses as DER.
        scope: The whole path, or the peer's own certificate only.
        source: A cache that is asked, too.

    Raises:
        ConfigurationError: A CRL or a response that cannot be read; a mode or scope that is none.
    """

    crls: tuple[Crl, ...] = field(default=(), converter=_as_crls)
    mode: RevocationMode = field(default=RevocationMode.REQUIRE, kw_only=True, converter=_as_mode)
    ocsp: tuple[StatusResponse, ...] = field(default=(), kw_only=True, converter=_as_responses)
    scope: RevocationScope = field(default=RevocationScope.CHAIN, kw_only=True, converter=_as_scope)
    source: RevocationSource | None = field(default=None, kw_only=True, hash=False)

    @source.validator
    def _is_source(self, _: object, value: object) -> None:
        if value is not None and not callable(getattr(value, "known", None)):
            raise ConfigurationError(
                f"source= has a method known(certificate, issuer), unlike {kind_of(value)}"
            )

    def check(self, path: Sequence[x509.Certificate], evidence: Evidence) -> Standing | Fault:
        """Look up the certificates of a proven path, leaf first, the anchor last.

        Returns:
            That none is known to be revoked, and until when; or a fault with the code
            ``path.revoked`` or ``path.revocation-unknown``.
        """
        if self.mode is RevocationMode.OFF:
            return Standing()
        below = 1 if self.scope is RevocationScope.LEAF else len(path)
        ends: list[datetime] = []
        notes: list[str] = []
        faults: list[Fault] = []
        for certificate, issuer in islice(pairwise(path), below):
            lookup = _Lookup(self, certificate, issuer, evidence, certificate is path[0])
            found = lookup.find()
            if isinstance(found, Fault):
                faults.append(found)
            elif found.until is not None:
                ends.append(found.until)
            notes += [] if isinstance(found, Fault) else found.notes
        if faults:
            return max(faults, key=lambda fault: fault.code.rank)
        return Standing(min(ends, default=None), tuple(notes))


@frozen
class _Lookup:
    """One certificate, and whom to ask about it."""

    revocation: Revocation
    certificate: x509.Certificate
    issuer: x509.Certificate
    evidence: Evidence
    is_leaf: bool

    def find(self) -> Standing | Fault:
        """Give the certificate's standing, or why it has none."""
        staple = list(self._stapled())
        answers = [*staple, *self._given(self.revocation.ocsp, "OCSP responses is about it")]
        answers += [
            *self._from_source(),
            *self._given(self.revocation.crls, "CRLs is of its issuer"),
        ]
        for answer in answers:
            if answer.status is Status.REVOKED:
                return self._fault(Code.PATH_REVOKED, answer.told, "one that is not revoked")
        told = [answer.told for answer in answers if answer.status is Status.UNKNOWN]
        if self._must_staple() and all(answer.status is not Status.GOOD for answer in staple):
            told = [answer.told for answer in staple] or ["the server sent none"]
            found = f"promises a stapled OCSP response (must-staple), and {told[0]}"
            return self._fault(Code.PATH_REVOCATION_UNKNOWN, found, "one that is good", "RFC 7633")
        is_required = self.revocation.mode is RevocationMode.REQUIRE
        ends = [answer.until for answer in answers if answer.until is not None]
        if ends:
            return Standing(max(ends) if is_required else None)
        found = f"has no status that is known: {_told(told)}"
        if is_required:
            expected = "a good one in an OCSP response or a CRL that is valid and covers it"
            return self._fault(Code.PATH_REVOCATION_UNKNOWN, found, expected)
        return Standing(notes=(f"{describe(self.certificate)} {found}; accepted (soft)",))

    def _stapled(self) -> Iterator[Answer]:
        staple = self.evidence.staple
        if self.is_leaf and staple is not None:
            yield self._read("the stapled OCSP response", StatusResponse.read, staple)

    def _given(self, given: Sequence[Crl | StatusResponse], what: str) -> Iterator[Answer]:
        """Ask each; that all are about something else is told once."""
        answers = [answer for one in given if (answer := self._ask(one)) is not None]
        if given and not answers:
            issuer = printable(self.issuer.subject.rfc4514_string())
            yield Answer(Status.UNKNOWN, f"none of the {len(given)} given {what} ({issuer!r})")
        yield from answers

    def _from_source(self) -> Iterator[Answer]:
        source = self.revocation.source
        if source is None:
            return
        try:
            known = tuple(source.known(self.certificate, self.issuer))
        except Exception as error:  # noqa: BLE001  it is not ours; whatever it is, it is no answer
            yield Answer(Status.UNKNOWN, f"the source failed ({printable(str(error))})")
            return
        for data in known:
            yield self._read("what the source has", _read_known, data)

    def _read(
        self,
        what: str,
        read: Callable[[bytes], Crl | StatusResponse],
        data: bytes | Crl | StatusResponse,
    ) -> Answer:
        try:
            found = data if isinstance(data, Crl | StatusResponse) else read(data)
        except Exception as error:  # noqa: BLE001  it may come from a stranger
            told = f"{what} cannot be read ({printable(str(error))})"
            return Answer(Status.UNKNOWN, told)
        elsewhere = Answer(Status.UNKNOWN, f"{what} is not about it")
        return self._ask(found) or elsewhere

    def _ask(self, one: Crl | StatusResponse) -> Answer | None:
        try:
            return one.answer(self.certificate, self.issuer, self.evidence.now)
        except Exception as error:  # noqa: BLE001  cryptography raises at least five kinds
            told = f"{one.name} cannot be evaluated ({printable(str(error))})"
            return Answer(Status.UNKNOWN, told)

    def _must_staple(self) -> bool:
        if not self.is_leaf or self.evidence.role is not Role.SERVER:
            return False
        promised = extension(self.certificate, x509.TLSFeature)
        return promised is not None and x509.TLSFeatureType.status_request in promised

    def _fault(
        self, code: Code, found: str, expected: str, rule: str = "RFC 5280 §6.3, RFC 6960"
    ) -> Fault:
        return Fault(code, describe(self.certificate), found, expected, rule)


def _told(reasons: Iterable[str]) -> str:
    told = list(dict.fromkeys(reasons))
    if not told:
        return "there is no CRL and no OCSP response"
    more = [f"and {len(told) - _MAX_TOLD} more"] if len(told) > _MAX_TOLD else []
    return "; ".join([*told[:_MAX_TOLD], *more])


@lru_cache(maxsize=_MAX_READ)
def _read_known(data: bytes) -> Crl | StatusResponse:
    """Read what a source has. It gives the same long CRL in each handshake."""
    try:
        return StatusResponse.read(data)
    except ValueError:
        return Crl.read(data)
