"""Endings: what ends on a date that is known, and the reminders of it beforehand.

A certificate that nobody renewed is what most often takes trusted connections down, and it was
known for months. Whoever has a clock asks a `Reminder`; it tells each ending a few times, and not
at each look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from attrs import field, frozen
from cryptography import x509

from siptls.arguments import check_list
from siptls.errors import ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.decision import Peer
from siptls.trust.fault import describe
from siptls.trust.names import listed
from siptls.trust.ocsp import StatusResponse
from siptls.trust.policy import TrustPolicy, authorities_of

__all__ = [
    "Ending",
    "EndingKind",
    "EndingNotice",
    "Reminder",
    "endings_of_authority",
    "endings_of_chain",
    "endings_of_peers",
    "endings_of_policy",
    "endings_of_staple",
]

# Endings that are looked at, the soonest first, and that are remembered as told. A server holds
# 10,000 connections (`Limits.max_connections`), most of them with certificates of a few peers.
_MOST = 4096
_DAY = timedelta(days=1)


class EndingKind(StrEnum):
    """What it is that ends.

    Attributes:
        CREDENTIAL: Our own certificate.
        INTERMEDIATE: A certificate that we send along with it.
        ANCHOR: A trust anchor of an authority.
        CRL: A certificate revocation list: its nextUpdate.
        OCSP: An OCSP response, given or stapled by us: its nextUpdate.
        PEER: What the trust in a connected peer rests on.
    """

    CREDENTIAL = "credential"
    INTERMEDIATE = "intermediate"
    ANCHOR = "anchor"
    CRL = "crl"
    OCSP = "ocsp"
    PEER = "peer"


_WHAT = {
    EndingKind.CREDENTIAL: "our certificate",
    EndingKind.INTERMEDIATE: "the intermediate certificate that we send along,",
    EndingKind.ANCHOR: "the trust anchor",
    EndingKind.CRL: "the revocation list",
    EndingKind.OCSP: "the OCSP response",
    EndingKind.PEER: "what is believed of the connected peer",
}
_ADVICE = {
    EndingKind.CREDENTIAL: "renew it: when it has ended, every peer refuses us",
    EndingKind.INTERMEDIATE: "send the next one of that CA along: with a chain that has ended,"
    " peers refuse us",
    EndingKind.ANCHOR: "put the CA's next certificate beside it: when it has ended, everyone for"
    " whom it vouches is refused",
    EndingKind.CRL: "fetch the CA's next one: an old list does not know what was revoked since",
    EndingKind.OCSP: "fetch the CA's next one: an old one counts as none",
    EndingKind.PEER: "its operator has to renew its certificate; if a CA's ends before, both of you"
    " need that CA's next one",
}


def _is_aware(_: object, attribute: Any, value: Any) -> None:
    if value is not None and value.utcoffset() is None:
        raise ConfigurationError(f"Ending.{attribute.name} is an aware datetime, not {value!r}")


@frozen
class Ending:
    """Something that ends, and when.

    Attributes:
        kind: What it is.
        name: Which one, in a line.
        when: The end; aware.
        since: Its beginning; aware. None if it is not known.
    """

    kind: EndingKind
    name: str
    when: datetime = field(validator=_is_aware)
    since: datetime | None = field(default=None, validator=_is_aware)


@frozen
class EndingNotice:
    """An ending that is near, or has come. ``str()`` of it is a sentence with what to do.

    Attributes:
        ending: What ends.
        days: The threshold that was passed: one of those asked for; 0 if it has ended.
        left: The time until then; not positive if it has ended.
    """

    ending: Ending
    days: float
    left: timedelta

    @property
    def has_ended(self) -> bool:
        """Whether it is over."""
        return self.left <= timedelta()

    @property
    def found(self) -> str:
        """How it stands, as the rest of a sentence."""
        ends = "has ended" if self.has_ended else f"ends in {_in_words(self.left)}"
        return f"{ends}, at {self.ending.when.isoformat(timespec='seconds')}"

    def __str__(self) -> str:
        ending = self.ending
        return f"{_WHAT[ending.kind]} {ending.name} {self.found}; {_ADVICE[ending.kind]}"


def _in_words(left: timedelta) -> str:
    for unit, length in (("day", _DAY), ("hour", timedelta(hours=1))):
        count = left // length
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than an hour"


# ---------------------------------------------------------------- what ends


def endings_of_chain(chain: Sequence[x509.Certificate]) -> list[Ending]:
    """Give the endings of what we show: our own certificate first, then what is sent along."""
    kinds = [EndingKind.CREDENTIAL, *[EndingKind.INTERMEDIATE] * (len(chain) - 1)]
    return [_of_certificate(kind, one) for kind, one in zip(kinds, chain, strict=False)]


def endings_of_policy(policy: TrustPolicy) -> list[Ending]:
    """Give the endings of the trust anchors that a policy asks, and of their revocation.

    A policy that does not tell its authorities has none.
    """
    authorities = sorted(authorities_of(policy) or (), key=lambda one: one.name)
    # In order, and each once.
    return list(dict.fromkeys(one for each in authorities for one in endings_of_authority(each)))


def endings_of_authority(authority: Authority) -> list[Ending]:
    """Give the endings of an authority's trust anchors, and of its revocation; each once."""
    endings: dict[Ending, None] = {}
    for anchor in authority.anchors:
        endings[_of_certificate(EndingKind.ANCHOR, anchor)] = None
    revocation = getattr(authority, "revocation", None)
    for crl in () if revocation is None else revocation.crls:
        if crl.next_update is not None:
            when, since = crl.next_update, crl.this_update
            endings[Ending(EndingKind.CRL, crl.issuer, when, since=since)] = None
    for response in () if revocation is None else revocation.ocsp:
        endings |= dict.fromkeys(_of_response(response, response.name))
    return list(endings)


def endings_of_staple(staple: bytes, about: str) -> list[Ending]:
    """Give the ending of an OCSP response that we staple; none if it cannot be read."""
    try:
        return _of_response(StatusResponse.read(staple), f"that we staple, about {about},")
    except ValueError:
        return []


def _of_response(response: StatusResponse, name: str) -> list[Ending]:
    when = response.next_update
    if when is None:
        return []
    return [Ending(EndingKind.OCSP, name, when, since=response.this_update)]


def endings_of_peers(peers: Iterable[Peer]) -> list[Ending]:
    """Give the endings of the trust in peers: several connections with one peer are one."""
    endings: dict[Ending, None] = {}
    for peer in peers:
        name = listed(sorted({name.name for name in peer.names}))
        since = peer.chain[0].not_valid_before_utc if peer.chain else None
        endings[Ending(EndingKind.PEER, name, peer.expires, since=since)] = None
    return list(endings)


def _of_certificate(kind: EndingKind, certificate: x509.Certificate) -> Ending:
    return Ending(
        kind,
        describe(certificate),
        certificate.not_valid_after_utc,
        since=certificate.not_valid_before_utc,
    )


# ---------------------------------------------------------------- reminding


def _as_days(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= timedelta.max.days:
        raise ConfigurationError(
            f"the days before an end are positive numbers such as (30, 7, 1), not {value!r}"
        )
    return value  # type: ignore[no-any-return]  # a number, as was asked


class Reminder:
    """Tells each ending when a threshold is passed: once for each threshold, and once at the end.

    A threshold longer than half the life of what ends is left out: 30 days before its end, a
    certificate of six days is not near it. What is renewed ends at another time, and so is new.

    Args:
        days: The thresholds, in days before the end. Without any, only the end itself is told.

    Raises:
        ConfigurationError: A threshold that is no positive number.
    """

    def __init__(self, days: Iterable[float] = (30, 7, 1)) -> None:
        check_list("the days before an end", days)
        self._days = sorted({_as_days(one) for one in days})
        # The last threshold told of each, what was seen last at the end.
        self._told: dict[Ending, float] = {}

    def due(self, now: datetime, endings: Iterable[Ending]) -> list[EndingNotice]:
        """Give what is to be told now, the soonest first.

        Args:
            now: The time; aware.
            endings: All that end, as they are now.
        """
        soonest = sorted(set(endings), key=lambda one: (one.when, one.kind, one.name))[:_MOST]
        notices = []
        for ending in soonest:
            left = ending.when - now
            passed = self._passed(ending, left)
            if passed is None:
                continue
            before = self._told.pop(ending, None)
            # The least one, should the clock be set back.
            self._told[ending] = passed if before is None else min(passed, before)
            if before is None or passed < before:
                notices.append(EndingNotice(ending, passed, left))
        for ending in list(self._told)[: max(0, len(self._told) - _MOST)]:
            del self._told[ending]
        return notices

    def _passed(self, ending: Ending, left: timedelta) -> float | None:
        """The shortest threshold that was passed; 0 for the end, None for none."""
        if left <= timedelta():
            return 0
        for days in self._days:
            threshold = days * _DAY
            is_short = ending.since is None or threshold <= (ending.when - ending.since) / 2
            if left <= threshold and is_short:
                return days
        return None
