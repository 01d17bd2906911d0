"""Watched: what a `Watch` looks at, and whom it keeps up to date.

How it thinks. There are two subjects, a credential and a policy, each with the files that its last
load has read (`siptls.pem.noted`), whatever came of it. A look compares what those files hold: not
their times, for a file may be replaced by one with the same, and not their inodes, for it may be
written in place. If something differs, the subject is loaded anew. What comes of that counts if the
look before has read the very same: a file that is half written, or a key that is renewed a moment
after its certificate, is another one at the next look. So half a policy is never applied, and
nothing is told of what mends itself.

What could be loaded is the new one. What could not be is told, once, and the last good one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

from attrs import define, field, frozen

from siptls import pem
from siptls.arguments import kind_of
from siptls.errors import CertificateError
from siptls.journal import log as _log
from siptls.trust.decision import Peer
from siptls.trust.fault import describe
from siptls.trust.ocsp import StatusResponse
from siptls.trust.policy import TrustPolicy
from siptls.wire.credential import Credential

__all__ = ["Attached", "Subject", "Updatable", "WatchEvent"]


class Updatable(Protocol):
    """What a `Watch` keeps up to date: every transport, or anything else with this method."""

    def update(self, *, credential: Any = ..., policy: Any = ...) -> object:
        """Take one of the two, or both; raise, and change nothing, if they cannot be taken.

        What has not changed is not passed. It is called from the thread of the watch.
        """
        ...


@frozen
class WatchEvent:
    """What a look at the files has brought. ``str()`` of it is a sentence.

    Attributes:
        what: ``"reloaded"``: it is in use. ``"failed"``: the last good ones are still in use.
        files: The files that have changed, as absolute paths.
        error: Why it failed.
        transport: Which of the transports would not take it; None if it could not be loaded.
    """

    what: Literal["reloaded", "failed"]
    files: tuple[str, ...]
    error: Exception | None = None
    transport: Updatable | None = None

    def __str__(self) -> str:
        files = " and ".join(self.files)
        if self.error is None:
            return f"{files}: reloaded"
        whose = "" if self.transport is None else f" by {kind_of(self.transport)}"
        return f"{files}: not taken{whose}, and the last good one stays in use: {self.error}"


# ---------------------------------------------------------------- one thing that is watched

_T = TypeVar("_T", Credential, TrustPolicy)


@define(eq=False)
class Subject(Generic[_T]):
    """A credential or a policy, and the files that it comes from."""

    keyword: str
    load: Callable[[], _T]
    value: _T
    # What the files held: at the last load that counted, and at one that awaits its confirmation.
    known: dict[str, str]
    awaited: dict[str, str] | None = None
    # The last look has found something new, which awaits its confirmation.
    unsettled: bool = False
    told: str = ""

    @classmethod
    def first(cls, keyword: str, load: Callable[[], _T]) -> Subject[_T]:
        """Load it for the first time.

        Raises:
            Exception: Whatever the load raises.
        """
        with pem.noted() as known:
            value = load()
        return cls(keyword, load, value, known)

    def look(self, now: datetime, *, settled: bool) -> WatchEvent | None:
        """Look at the files; give what is to be told. With ``"reloaded"``, ``value`` is new."""
        self.unsettled = False
        changed = tuple(path for path, was in self.known.items() if pem.content(path) != was)
        if not changed:
            self.awaited = None
            return None
        with pem.noted() as found:
            outcome = self._outcome(now)
        if not settled and found != self.awaited:
            self.awaited, self.unsettled = found, True
            return None
        self.awaited = None
        if not isinstance(outcome, Exception):
            self.known, self.value, self.told = found, outcome, ""
            return WatchEvent("reloaded", changed)
        if not isinstance(outcome, _NotValidNowError):
            self.known = found
        else:  # it is tried again without any change: its time may come
            self.awaited = found
        is_told, self.told = self.told == str(outcome), str(outcome)
        return None if is_told else WatchEvent("failed", changed, outcome)

    def _outcome(self, now: datetime) -> _T | Exception:
        try:
            value = self.load()
            _check_dates(value, self.value, now)
        except Exception as error:  # noqa: BLE001  a file may hold anything, and nothing ends a watch
            return error
        return value


class _NotValidNowError(CertificateError):
    """A certificate that has ended, or has yet to begin."""


def _check_dates(new: object, old: object, now: datetime) -> None:
    """Keep a certificate that is valid from being replaced by one that is not."""
    if not isinstance(new, Credential) or not isinstance(old, Credential):
        return
    if _is_valid(old, now) and not _is_valid(new, now):
        ours = new.chain[0]
        raise _NotValidNowError(
            f"{describe(ours)} is valid from {ours.not_valid_before_utc.isoformat()} to"
            f" {ours.not_valid_after_utc.isoformat()}, and the one in use is valid now"
        )
    if _is_stapled(old, now) and new.staple is not None and not _is_stapled(new, now):
        raise _NotValidNowError(
            f"the OCSP response for {describe(new.chain[0])} is out of date: fetch a new one"
        )


def _is_stapled(credential: Credential, now: datetime) -> bool:
    """Whether it has an OCSP response that is not out of date."""
    if credential.staple is None:
        return False
    ends = StatusResponse.read(credential.staple).next_update
    return ends is None or now < ends


def _is_valid(credential: Credential, now: datetime) -> bool:
    ours = credential.chain[0]
    return ours.not_valid_before_utc <= now <= ours.not_valid_after_utc


# ---------------------------------------------------------------- one that is kept up to date


@define(eq=False)
class Attached:
    """A transport, which of the two it takes, and which ones it has taken."""

    transport: Updatable
    takes: frozenset[str]
    taken: dict[str, object] = field(factory=dict)

    def give(self, values: dict[str, object]) -> None:
        """Hand over what it has not taken yet.

        Raises:
            Exception: Whatever it raises.
        """
        new = {
            keyword: value
            for keyword, value in values.items()
            if keyword in self.takes and self.taken.get(keyword) is not value
        }
        if not new:
            return
        try:
            self.transport.update(**new)
        except Exception:
            if len(new) > 1:  # a good policy is not to wait for a credential that is refused
                self._give_each(new)
            raise
        self.taken.update(new)

    def _give_each(self, new: dict[str, object]) -> None:
        for keyword, value in new.items():
            try:
                self.transport.update(**{keyword: value})
            except Exception as error:  # noqa: BLE001  that of both together is the one that is told
                _log.debug("%s alone is refused, too: %s", keyword, error)
            else:
                self.taken[keyword] = value

    def peers(self) -> Iterable[Peer]:
        """Give those who are connected, of a transport that tells."""
        peers = getattr(self.transport, "peers", None)
        if not callable(peers):
            return ()
        try:
            return list(peers())
        except Exception:  # noqa: BLE001  it is for a reminder only
            _log.exception("%s does not tell its peers", kind_of(self.transport))
            return ()
