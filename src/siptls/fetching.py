"""Fetching: CRLs and OCSP responses from where certificates say that they are.

How it thinks. A handshake never waits: `FetchingSource.known` looks into a cache, and what is
missing there, or will be too old soon, it leaves to one thread. The thread asks the places that a
certificate names, one after the other, until one has an answer. What comes over plain HTTP may come
from anybody, so an answer is kept only if it says, of the certificate for which it was fetched,
that it is good or that it is revoked: then it is signed by who may, and fresh. All else is a
failure, after which nobody asks for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any, Self

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from siptls.arguments import check_callback, check_count, check_list, check_seconds, kind_of
from siptls.errors import ConfigurationError
from siptls.exchange import Place, exchange, read_host, read_url
from siptls.fetched import MAX_REMEMBERED, Cache, Found, Question, Want
from siptls.journal import log as _log
from siptls.trust.names import printable
from siptls.trust.ocsp import MAX_RESPONSE, StatusResponse
from siptls.trust.status import Status

__all__ = ["FetchingSource"]


# URLs of one certificate that are asked. Those of public CAs have one of each kind, Microsoft's CA
# writes two or three.
_MAX_URLS = 4
# Seconds after which the thread looks whether something in the cache is due.
_LOOK = 30.0
# Seconds for which close() waits for a callback that is running, or for an answer.
_CLOSE_TIMEOUT = 5.0


class FetchingSource:
    """A `RevocationSource` that fetches CRLs and OCSP responses by itself, outside of handshakes.

    The first handshake with a peer whose status is not known yet is refused under
    `RevocationMode.REQUIRE`; one that comes after the answer is accepted. `prefetch` gets what can
    be had before.

    A peer's certificate says where to ask, so nobody is asked whom you do not allow. Only ``http``
    is spoken: what is fetched is signed, and for ``https`` it would take a decision of its own whom
    to trust. No redirect is followed, and no proxy is used. A request has no nonce: responders and
    caches answer with what they have (RFC 5019).

    Args:
        hosts: Who may be asked: ``"crl.contoso.com"``, or ``"crl.contoso.com:8080"`` for another
            port than 80. By default nobody.
        urls: Says of a URL whether it may be asked, where ``hosts`` does not say so. It is called
            inside handshakes, so it must not wait.
        timeout: Seconds for one question as a whole.
        refresh: Seconds (60 at least) after which is asked again, though the answer is still good:
            so soon a revocation is seen. Before that, after half of the time that is left to it.
        max_size: Bytes of a CRL; a longer one is a failure.
        cache_size: Bytes of all answers together. Those for which nobody has asked for the longest
            time make room. In memory a long CRL takes about ten times as many.
        max_entries: How many answers and failures are remembered.
        on_change: Called in the thread when something new has come: there the application has its
            living connections judged again, by ``transport.update``.
        clock: Gives the time; aware. By default the present.

    Raises:
        ConfigurationError: A host that is none; a limit that is no positive number.
    """

    def __init__(  # noqa: PLR0913  whom to ask, within which limits, and whom to tell
        self,
        *,
        hosts: Iterable[str] = (),
        urls: Callable[[str], bool] | None = None,
        timeout: float = 5.0,
        refresh: float = 3600.0,
        max_size: int = 10 * 2**20,
        cache_size: int = 64 * 2**20,
        max_entries: int = 1024,
        on_change: Callable[[], object] | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        check_seconds("timeout", timeout)
        check_seconds("refresh", refresh)
        counts = {"max_size": max_size, "cache_size": cache_size, "max_entries": max_entries}
        for name, value in counts.items():
            check_count(name, value)
        if cache_size < max_size:
            raise ConfigurationError(f"cache_size= has room for max_size={max_size} at least")
        for name, callback in (("urls", urls), ("on_change", on_change), ("clock", clock)):
            check_callback(name, callback)
        self._hosts = _as_hosts(hosts)
        self._urls = urls
        self._timeout = timeout
        self._max_size = max_size
        self._max_entries = max_entries
        self._on_change = on_change
        self._clock = clock or (lambda: datetime.now(UTC))
        # Guards all below. Nobody waits for the network, or calls the application, while he has it.
        self._changed = threading.Condition()
        self._cache = Cache(
            refresh=timedelta(seconds=refresh), max_entries=max_entries, max_size=cache_size
        )
        self._told: set[str] = set()
        self._queue: dict[Want, None] = {}  # in their order
        self._at_work: Want | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def known(self, certificate: x509.Certificate, issuer: x509.Certificate) -> list[Found]:
        """Give what is in the cache about a certificate, and have the rest fetched later."""
        want = self._want(certificate, issuer)
        now = self._clock()
        with self._changed:
            if self._cache.next(want, now) is not None:
                self._enqueue(want)
            return self._cache.find(want, now)

    def prefetch(
        self,
        certificates: x509.Certificate | Iterable[x509.Certificate],
        issuer: x509.Certificate | None = None,
    ) -> None:
        """Have fetched what tells about certificates before a peer shows them; see `drain`.

        Args:
            certificates: One, or a path: each with the next one as its issuer.
            issuer: The issuer of the last one, such as a trust anchor.

        Raises:
            ConfigurationError: There is no certificate with an issuer.
        """
        one = isinstance(certificates, x509.Certificate)
        # mypy does not see that `one` tells the two apart.
        path: list[Any] = [certificates] if one else list(certificates)  # type: ignore[arg-type]
        path += [] if issuer is None else [issuer]
        if len(path) <= 1 or not all(isinstance(each, x509.Certificate) for each in path):
            raise ConfigurationError(
                "prefetch() takes certificates, of which each has the next one as its issuer:"
                " prefetch(credential.chain, anchor)"
            )
        for certificate, above in pairwise(path):
            self.known(certificate, above)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to be fetched, and whoever is to be told has been told.

        It blocks: never call it in an event loop or in ``on_change``.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Returns:
            Whether nothing is left. That says not that all was found.
        """
        with self._changed:
            if self._queue and not self._ensure_thread():
                return False  # it would be waited for in vain
            return self._changed.wait_for(self._is_idle, timeout)

    def close(self) -> None:
        """End the thread. What is in the cache stays there; nothing more is fetched."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(_CLOSE_TIMEOUT)
        if thread.is_alive():
            _log.warning("something is still being fetched; its thread ends after it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------- whom to ask

    def _want(self, certificate: x509.Certificate, issuer: x509.Certificate) -> Want:
        """Say whom to ask about a certificate, of those that it names."""
        want = Want(certificate, issuer)
        named = (one for one in dict.fromkeys(want.named()) if self._is_allowed(one.url))
        return evolve(want, questions=tuple(islice(named, _MAX_URLS)))

    def _is_allowed(self, url: str) -> bool:
        try:
            place, _ = read_url(url)
            if place in self._hosts or (self._urls is not None and self._urls(url) is True):
                return True
            why = "neither hosts= nor urls= allows it"
        except Exception as error:  # noqa: BLE001  the URL is a stranger's, the rule an application's
            why = printable(str(error)) or type(error).__name__
        if url not in self._told and len(self._told) < MAX_REMEMBERED:
            self._told.add(url)
            _log.info("%s is not asked about revocation: %s", printable(url), why)
        return False

    def _enqueue(self, want: Want) -> None:
        if self._closed or want == self._at_work:
            return
        if want in self._queue:
            self._ensure_thread()
            return
        if len(self._queue) >= self._max_entries:  # more would not stay in the cache
            _log.warning(
                "%d certificates wait to be asked about; one is left out", len(self._queue)
            )
            return
        self._queue[want] = None
        self._changed.notify_all()
        self._ensure_thread()

    def _ensure_thread(self) -> bool:
        """Whether there is a thread, now at the latest."""
        if self._thread is not None:
            return True
        # A daemon: whoever forgets to close it can end his program all the same.
        thread = threading.Thread(target=self._run, name="siptls-fetch", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # a handshake asks, and is not to fail for it
            _log.warning("nothing can be fetched: %s; trying again when it is asked for", error)
            return False
        self._thread = thread
        return True

    def _is_idle(self) -> bool:
        return not self._queue and self._at_work is None

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        while (want := self._take()) is not None:
            try:
                if self._look_up(want):
                    self._tell()
            except Exception:  # noqa: BLE001  such as a clock that fails; the next may go well
                _log.exception("looking for a status failed")
            with self._changed:
                self._at_work = None
                self._changed.notify_all()

    def _tell(self) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change()
        except Exception:  # noqa: BLE001  whatever it is, it is the application's
            _log.exception("on_change failed; it changes nothing")

    def _take(self) -> Want | None:
        """Wait for something to do; None when it is closed."""
        with self._changed:
            while not self._closed:
                if not self._queue:
                    for want in self._cache.due(self._clock()):
                        self._enqueue(want)
                if self._queue:
                    self._at_work = next(iter(self._queue))
                    del self._queue[self._at_work]
                    return self._at_work
                self._changed.wait(_LOOK)
        return None

    def _look_up(self, want: Want) -> bool:
        """Ask until there is an answer; say whether something new has come."""
        is_new = False
        while True:
            with self._changed:
                question = None if self._closed else self._cache.next(want, self._clock())
            if question is None:
                return is_new
            try:
                is_new |= self._fetch(question, want)
            except Exception as error:  # noqa: BLE001  it comes from a stranger
                self._note_failure(question, want, error)

    def _fetch(self, question: Question, want: Want) -> bool:
        """Ask once. Here a CRL is read, and its signature checked: that may take a second."""
        found = self._ask(question, want)
        now = self._clock()
        answer = found.answer(want.certificate, want.issuer, now)
        if answer is None or answer.status is Status.UNKNOWN:
            raise ValueError("it is about another one" if answer is None else answer.told)
        with self._changed:
            return self._cache.keep(question, want, found, answer.until, now)

    def _ask(self, question: Question, want: Want) -> Found:
        place, target = read_url(question.url)
        body, headers, size = None, {}, self._max_size
        if question.kind is StatusResponse:
            # SHA-1 as RFC 5019 §2.1.1 has it: it looks up, and proves nothing.
            asked = ocsp.OCSPRequestBuilder().add_certificate(
                want.certificate,
                want.issuer,
                hashes.SHA1(),  # noqa: S303  see above
            )
            body = asked.build().public_bytes(Encoding.DER)
            headers = {"Content-Type": "application/ocsp-request"}
            size = min(size, MAX_RESPONSE)
        data = exchange(
            place, target, body=body, headers=headers, timeout=self._timeout, max_size=size
        )
        found: Found = question.kind.read(data)
        return found

    def _note_failure(self, question: Question, want: Want, error: Exception) -> None:
        why = printable(str(error)) or type(error).__name__
        _log.warning("nothing about revocation from %s: %s", printable(question.url), why)
        with self._changed:
            if isinstance(error, OSError):
                self._cache.note_silent(question.url, self._clock())
            else:
                self._cache.note_useless(question, want, self._clock())


def _as_hosts(value: Iterable[str]) -> frozenset[Place]:
    if isinstance(value, str):
        raise ConfigurationError(f"hosts= is a list: write [{value!r}], not {value!r}")
    check_list("hosts", value)
    found = set()
    for host in value:
        if not isinstance(host, str):
            raise ConfigurationError(f"hosts= holds names of hosts, not {kind_of(host)}")
        try:
            found.add(read_host(host))
        except ValueError as error:
            raise ConfigurationError(
                f"hosts= holds names such as 'crl.contoso.com' or 'crl.contoso.com:8080', not"
                f" {host!r}"
            ) from error
    return frozenset(found)
