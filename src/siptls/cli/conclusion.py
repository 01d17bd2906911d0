"""Conclusion: the last line of a command, and its exit status. Pure: it only reads what was found.

Of a peer that refuses us only the alert is known. What it most likely disliked is guessed from that
and from what stands in our own certificate; the words say that it is a guess.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from siptls.cli.examination import Examination, Visit
from siptls.cli.exits import Exit
from siptls.cli.facts import Facts
from siptls.cli.judged import Judged
from siptls.errors import (
    ConnectionClosedError,
    FramingError,
    HandshakeTimeout,
    RefusedByPeerError,
)
from siptls.trust.codes import Code
from siptls.trust.decision import Decision
from siptls.trust.names import ReferenceIdentity, listed, printable
from siptls.trust.plain import as_line
from siptls.trust.refusal import TrustLostError

__all__ = ["BY_PEER", "NETWORK", "Conclusion", "conclude", "conclude_judged"]

# The codes beside those of decisions. They are stable, and documented in command-line.md.
BY_PEER = (
    "certificate-missing",
    "purpose",
    "expired",
    "not-yet-valid",
    "revoked",
    "self-signed",
    "unknown-ca",
    "certificate",
    "closed",
    "tls",
)
# What says least stands first.
NETWORK = ("dns", "unreachable", "timeout", "closed", "tls", "not-sip", "not-tls")


@frozen
class Conclusion:
    """What came out.

    Attributes:
        exit: The exit status.
        code: What it is, for programs: a reason code of a decision, ``by-peer.…``, or one of the
            network's; see ``docs/reference/command-line.md``.
        sentence: The same for people, and what to do.
    """

    exit: Exit
    code: str
    sentence: str

    @property
    def word(self) -> str:
        """``"trusted"``, ``"refused"`` or ``"network"``."""
        return self.exit.name.lower()

    @property
    def line(self) -> str:
        """All of it, in one line."""
        if self.exit is Exit.TRUSTED:
            return f"{self.word}: {self.sentence}"
        return f"{self.word}: {self.code}: {self.sentence}"

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "verdict": self.word,
            "exit": int(self.exit),
            "code": self.code,
            "sentence": self.sentence,
        }


def conclude(found: Examination) -> Conclusion:
    """Say in a sentence what an examination has found.

    Of several addresses the trusted one counts, as it would for `connect`; if there is none, the
    one that says most: who was refused, who refuses us, who speaks no TLS, who was not reached.
    """
    if found.resolution.error is not None:
        return _network("dns", found.resolution.text)
    each = [_of_visit(found, visit) for visit in found.visits]
    best = max(each, key=_rank, default=_network("dns", f"{found.expected} has no address"))
    others = len(each) - 1
    if best.exit is Exit.NETWORK and others:
        more = f"; {others} other address{'' if others == 1 else 'es'} failed, too"
        return Conclusion(best.exit, best.code, best.sentence + more)
    return best


def conclude_judged(judged: Judged) -> Conclusion:
    """Say in a sentence what a policy has decided, where no network was asked."""
    if not judged.decision.accepted:
        return _refused(judged)
    reference = None if judged.evidence is None else judged.evidence.reference
    return Conclusion(Exit.TRUSTED, str(Code.ACCEPTED), _proof(judged, reference))


# ---------------------------------------------------------------- one address


def _rank(one: Conclusion) -> tuple[int, int]:
    if one.exit is Exit.TRUSTED:
        return 3, 0
    if one.exit is Exit.NETWORK:
        return 0, NETWORK.index(one.code)
    return (1 if one.code.startswith("by-peer.") else 2), 0


def _of_visit(found: Examination, visit: Visit) -> Conclusion:
    judged = visit.judged
    if judged is not None and not judged.decision.accepted:
        return _refused(judged)
    if judged is not None and visit.is_trusted:
        return _trusted(found, visit, judged)
    if isinstance(visit.error, TrustLostError):
        lost = visit.error.decision
        return Conclusion(Exit.REFUSED, str(lost.code), _with_advice(lost.reason, lost))
    if isinstance(visit.error, RefusedByPeerError):
        return _refused_by_peer(found, visit, visit.error)
    if isinstance(visit.error, ConnectionClosedError) and judged is not None:
        return _closed_on_us(found, visit)
    return _not_judged(visit)


def _trusted(found: Examination, visit: Visit, judged: Judged) -> Conclusion:
    proof = _proof(judged, found.expected)
    if visit.reply is not None:
        told = f"it answers OPTIONS with {visit.reply.status}"
    elif not found.asked:
        told = "OPTIONS was not sent"
    elif visit.error is not None:
        told = "it closed the connection without an answer to OPTIONS"
    else:
        told = f"no answer to OPTIONS within {found.timeout:g} s"
    if not visit.proves_us:
        told += ", and in TLS 1.3 nothing but an answer proves that it accepts us, too"
    return Conclusion(Exit.TRUSTED, str(Code.ACCEPTED), f"{proof}; {told}")


def _proof(judged: Judged, expected: ReferenceIdentity | None) -> str:
    """Say what is proven, by whom, and for how long."""
    peer = judged.decision.peer
    if peer is None:
        return judged.decision.reason
    wanted = None if expected is None else expected.names
    names = [name for name in peer.names if wanted is None or name.name in wanted] or peer.names
    who = listed(dict.fromkeys(name.name for name in names))
    by = listed(dict.fromkeys(f"{name.authority} ({name.trust})" for name in names))
    days = judged.days or 0
    left = f"{days} day{'' if days == 1 else 's'} left" if days else "less than a day left"
    return printable(f"{who} is believed by the word of {by}, {left}", 1000)


def _refused(judged: Judged) -> Conclusion:
    decision = judged.decision
    sentence = decision.reason
    if decision.code == Code.PATH_UNKNOWN_CA and judged.chain and judged.chain[0].is_self_signed:
        return Conclusion(
            Exit.REFUSED,
            str(decision.code),
            f"the certificate is self-signed: {sentence}; have it issued by a CA that the policy"
            " knows; or, if it is meant to be trusted as it is, pin it (siptls.Pinned)",
        )
    return Conclusion(Exit.REFUSED, str(decision.code), _with_advice(sentence, decision))


def _with_advice(sentence: str, decision: Decision) -> str:
    return f"{sentence}; {_in_options(decision.advice)}" if decision.advice else sentence


def _not_judged(visit: Visit) -> Conclusion:
    """Nobody was reached who could be judged."""
    error = visit.error
    told = "nothing was found" if error is None else as_line(str(error))
    last = visit.steps[-1].name if visit.steps else "connect"
    if visit.in_clear:
        said = visit.in_clear.splitlines()[0].decode("utf-8", "replace")
        what = (
            f"{visit.where} does not speak TLS: it says '{printable(said)}'; connect to the port"
            " that it has for TLS, mostly 5061, or have its operator turn TLS on"
        )
        return _network("not-tls", what)
    if isinstance(error, HandshakeTimeout):
        what = (
            f"{visit.where} took the connection and did not end the TLS handshake in time; is it a"
            " port for plain TCP, such as 5060, or is the server overloaded?"
        )
        return _network("timeout", what)
    if isinstance(error, FramingError):
        return _network("not-sip", f"{visit.where} speaks TLS, but no SIP: {told}")
    if isinstance(error, ConnectionClosedError) and last == "connect":
        is_late = error.__cause__ is None  # the system had nothing to say
        return _network("timeout" if is_late else "unreachable", told)
    if isinstance(error, ConnectionClosedError):
        what = (
            f"{visit.where} closed the connection during the TLS handshake, before it had shown a"
            " certificate; is it a port for plain TCP, such as 5060, or does a firewall close it?"
        )
        return _network("closed", what)
    return _network("tls", told)


def _network(code: str, sentence: str) -> Conclusion:
    return Conclusion(Exit.NETWORK, code, _in_options(sentence))


def _in_options(text: str) -> str:
    """The library speaks of its arguments; here the same is an option."""
    text = text.replace("host= and port= choose", "--connect chooses")
    return text.replace("host=", "--connect")


# ---------------------------------------------------------------- a peer that refuses us

_HANDSHAKE_FAILURE, _NOT_MEANT_FOR_IT, _REVOKED, _EXPIRED = 40, 43, 44, 45
_UNKNOWN_CA, _DENIED, _CERTIFICATE_REQUIRED = 48, 49, 116
# Alerts about a certificate that do not say what is wrong with it; and those that need not.
_ABOUT_US = frozenset({_HANDSHAKE_FAILURE, 42, _NOT_MEANT_FOR_IT, 46, _DENIED, 80})
_FOR_CLIENTS = frozenset({"clientAuth", "any"})


def _by_peer(what: str, sentence: str) -> Conclusion:
    return Conclusion(Exit.REFUSED, f"by-peer.{what}", sentence)


def _refused_by_peer(found: Examination, visit: Visit, error: RefusedByPeerError) -> Conclusion:
    alert = error.alert
    begin = f"{visit.where} refuses us with TLS alert {alert}"
    if error.certificate_missing or alert.code == _CERTIFICATE_REQUIRED:
        return _by_peer("certificate-missing", f"{begin}: {_MISSING}")
    if visit.judged is None:  # it had shown nothing yet, so that it is not about certificates
        if alert.code == _HANDSHAKE_FAILURE:  # it has not asked for a certificate, as is known
            return _by_peer("tls", f"{begin}: no common TLS version or cipher; {_ASK}")
        return _by_peer("tls", f"{begin}: {alert.advice}" if alert.advice else begin)
    if not found.ours:
        if alert.code in _ABOUT_US | {_UNKNOWN_CA}:
            return _by_peer("certificate-missing", f"{begin}: most likely {_MISSING}")
        return _by_peer("tls", f"{begin}: {alert.advice}" if alert.advice else begin)
    what, why = _dislike(found.ours, alert.code)
    return _by_peer(what, f"{begin}: {why or alert.advice or _ASK}")


_MISSING = "it wants a client certificate and got none; pass one with --credential"
_ASK = "ask its operator what its log says about us"


def _dislike(ours: tuple[Facts, ...], alert: int | None) -> tuple[str, str]:
    """Guess what a peer dislikes in our certificates; an empty text where the alert says it."""
    if alert == _REVOKED:
        return "revoked", ""
    if alert is None or alert in _ABOUT_US or alert == _EXPIRED:
        for one in ours:
            if one.has_ended:
                when = one.certificate.not_valid_after_utc.date().isoformat()
                return "expired", f"{one.description} has expired on {when}; renew it"
            if not one.has_begun:
                when = one.certificate.not_valid_before_utc.isoformat(timespec="seconds")
                what = f"{one.description} is not valid before {when}; check the clocks, or wait"
                return "not-yet-valid", what
        if alert == _EXPIRED:
            return "expired", ""
    leaf = ours[0]
    if alert in (None, _UNKNOWN_CA, *_ABOUT_US) and leaf.is_self_signed:
        what = (
            f"most likely because our certificate {leaf.description} is self-signed; get one from a"
            " CA that it trusts, or have it trust this one"
        )
        return "self-signed", what
    if alert == _UNKNOWN_CA:
        return "unknown-ca", ""
    purposes = leaf.purposes
    if purposes is not None and _FOR_CLIENTS.isdisjoint(purposes):
        what = (
            f"most likely because our certificate {leaf.description} is for"
            f" {listed(purposes) or 'nothing'} only, and not for clientAuth; get one for both, or"
            " have the peer accept it"
        )
        return "purpose", what
    return "purpose" if alert == _NOT_MEANT_FOR_IT else "certificate", ""


def _closed_on_us(found: Examination, visit: Visit) -> Conclusion:
    """It has shown a certificate that we take, and has closed before it took ours for sure."""
    begin = (
        f"{visit.where} closed the connection without an alert and without an answer, after it had"
        " seen what we show"
    )
    if not found.ours:
        return _by_peer("closed", f"{begin}, which is nothing: perhaps {_MISSING}")
    what, why = _dislike(found.ours, None)
    return _by_peer(what if why else "closed", f"{begin}: {why or _ASK}")
