"""Fetched: the cache of a `FetchingSource`, and when something in it is to be asked for anew.

It asks nobody, and reads no clock. Whoever uses it from several threads holds a lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TypeAlias

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID

from siptls.trust.crl import Crl
from siptls.trust.evidence import extension
from siptls.trust.ocsp import StatusResponse

__all__ = ["MAX_REMEMBERED", "Cache", "Found", "Question", "Want"]

Found: TypeAlias = Crl | StatusResponse

# After a failure, and no more than an hour after many; RFC 5626 §4.5 doubles in the same way.
_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
_MAX_DOUBLINGS = 16
# URLs that are remembered because nobody answers there, or because they may not be asked.
MAX_REMEMBERED = 256
# What is good for a moment only is still not asked for at each handshake.
_SHORTEST_REST = timedelta(minutes=1)
# For how long something is kept fresh for which nobody has asked: longer than the week for which a
# CRL is good, so that what long connections rest on stays.
_IDLE = timedelta(days=8)


@frozen
class Want:
    """A certificate whose status somebody wants.

    Attributes:
        certificate: It.
        issuer: Who has issued it.
        questions: Those of `named` that may be asked, in the same order.
    """

    certificate: x509.Certificate
    issuer: x509.Certificate
    questions: tuple[Question, ...] = field(default=(), eq=False)

    def named(self) -> Iterator[Question]:
        """Give what the certificate says can be asked: what has short answers first."""
        for one in extension(self.certificate, x509.AuthorityInformationAccess) or ():
            if one.access_method == AuthorityInformationAccessOID.OCSP:
                yield from _at(StatusResponse, [one.access_location], self)
        key = self.issuer.public_key()
        signer = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for point in extension(self.certificate, x509.CRLDistributionPoints) or ():
            # Else another CA signs the CRL there, or it tells of some reasons only.
            if point.crl_issuer is None and point.reasons is None:
                yield from _at(Crl, point.full_name or (), signer)


@frozen
class Question:
    """What is asked for, where, and about what: it has one answer in the cache.

    Attributes:
        kind: A CRL or an OCSP response.
        url: Where.
        about: A certificate and its issuer; or, for a CRL, the key that signs it.
    """

    kind: type[Found]
    url: str
    about: Want | bytes


def _at(
    kind: type[Found], names: Iterable[x509.GeneralName], about: Want | bytes
) -> Iterator[Question]:
    for name in names:
        if isinstance(name, x509.UniformResourceIdentifier):
            yield Question(kind, name.value, about)


@define
class _Entry:
    """What there is for a question: an answer, failures, or both."""

    want: Want
    asked: datetime
    due: datetime
    found: Found | None = None
    failures: int = 0

    @property
    def size(self) -> int:
        return 0 if self.found is None else len(self.found.der)


@define
class _Silence:
    """That nobody answers at a URL."""

    due: datetime
    failures: int = 0


class Cache:
    """Answers and failures.

    Args:
        refresh: After which time at the latest something is due.
        max_entries: How many there are at most.
        max_size: Bytes of all answers together at most.
    """

    def __init__(self, *, refresh: timedelta, max_entries: int, max_size: int) -> None:
        self._refresh = refresh
        self._max_entries = max_entries
        self._max_size = max_size
        self._size = 0
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self._silent: OrderedDict[str, _Silence] = OrderedDict()

    def find(self, want: Want, now: datetime) -> list[Found]:
        """Give what there is, and remember who has asked for it."""
        found: list[Found] = []
        for question in want.questions:
            entry = self._entries.get(question)
            if entry is not None:
                self._entries.move_to_end(question)
                entry.want, entry.asked = want, now
                found += [] if entry.found is None else [entry.found]
        return found

    def next(self, want: Want, now: datetime) -> Question | None:
        """Give what is to be asked now: nothing, if there is an answer that is not due."""
        for question in want.questions:
            entry, silence = self._entries.get(question), self._silent.get(question.url)
            if entry is not None and now < entry.due:
                if not entry.failures:
                    return None
            elif silence is None or now >= silence.due:
                return question
        return None

    def due(self, now: datetime) -> list[Want]:
        """Give what is to be asked though nobody has come: living connections rest on it."""
        return [
            entry.want
            for entry in self._entries.values()
            if entry.found is not None
            and entry.due <= now < entry.asked + _IDLE
            and self.next(entry.want, now) is not None
        ]

    def keep(
        self, question: Question, want: Want, found: Found, until: datetime | None, now: datetime
    ) -> bool:
        """Take an answer, which holds until then, and say whether it is a new one.

        Raises:
            ValueError: A newer one is there.
        """
        old = self._entries.get(question)
        before = None if old is None else old.found
        if before is not None and found.this_update < before.this_update:
            raise ValueError(f"{found.name} is older than the one that is there")
        rest = self._refresh if until is None else min((until - now) / 2, self._refresh)
        asked = now if old is None else old.asked
        self._put(question, _Entry(want, asked, now + max(rest, _SHORTEST_REST), found))
        self._silent.pop(question.url, None)
        return before != found

    def note_useless(self, question: Question, want: Want, now: datetime) -> None:
        """Remember that what is said there is of no use; what was there stays."""
        self._silent.pop(question.url, None)
        entry = self._entries.get(question) or _Entry(want, now, now)
        entry.failures += 1
        entry.due = now + _pause(entry.failures)
        self._put(question, entry)

    def note_silent(self, url: str, now: datetime) -> None:
        """Remember that nobody answers there, whatever he is asked."""
        silence = self._silent.pop(url, _Silence(now))
        silence.failures += 1
        silence.due = now + _pause(silence.failures)
        self._silent[url] = silence
        while len(self._silent) > MAX_REMEMBERED:
            self._silent.popitem(last=False)

    def _put(self, question: Question, entry: _Entry) -> None:
        old = self._entries.pop(question, None)
        self._size += entry.size - (0 if old is None else old.size)
        self._entries[question] = entry
        while len(self._entries) > self._max_entries or self._size > self._max_size:
            _, gone = self._entries.popitem(last=False)
            self._size -= gone.size


def _pause(failures: int) -> timedelta:
    doubled: timedelta = _PAUSE * 2 ** min(failures - 1, _MAX_DOUBLINGS)
    return min(doubled, _LONGEST_PAUSE)
