"""Fetching: who is asked, what is kept, and that nobody waits for it but one thread."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import itertools
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define, evolve
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from impostors import CONTOSO as REAL
from network import client, serving
from statements import CONTOSO, FABRIKAM, NOW, VALID
from web import Web, crl_at, drips, ocsp_at, web

from siptls import (
    Code,
    ConfigurationError,
    Enterprise,
    Evidence,
    FetchingSource,
    PeerRefusedError,
    Revocation,
    Role,
    TrustLostError,
)
from siptls import exchange as exchange_module
from siptls import fetching as module
from siptls.exchange import read_host, read_url
from siptls.fetched import Cache, Want
from siptls.testing.statements import Extension
from siptls.trust.authority import ProvenPath
from siptls.trust.crl import Crl
from siptls.trust.ocsp import StatusResponse

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
FRESH: dict[str, Any] = {"this_update": NOW - DAY, "next_update": NOW + 7 * DAY}
STALE: dict[str, Any] = {"this_update": NOW - 9 * DAY, "next_update": NOW - DAY}
ISSUER = CONTOSO.certificate
LONG = 20.0  # seconds, for a machine that is busy; nobody waits for them


@define
class Clock:
    """A clock that stands until it is moved."""

    now: dt.datetime = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture(name="site")
def _site() -> Iterator[Web]:
    """A web server; no thread of a source may be left after it."""
    with web() as found:
        yield found
    gc.collect()  # a socket that is left is a ResourceWarning, and so a failure
    assert not [one for one in threading.enumerate() if one.name == "siptls-fetch"]


def leaf(*extensions: Extension, name: str = "sip:contoso.com") -> x509.Certificate:
    return CONTOSO.issue(name, extensions=extensions, **VALID).chain[0]


def source(site: Web, **options: Any) -> FetchingSource:
    options.setdefault("hosts", [site.place])
    options.setdefault("clock", Clock())
    return FetchingSource(**options)


def fetched(
    one: FetchingSource, certificate: x509.Certificate, issuer: x509.Certificate = ISSUER
) -> list[Crl | StatusResponse]:
    """Ask twice, as two handshakes do."""
    assert one.known(certificate, issuer) == []
    assert one.drain(LONG)
    return one.known(certificate, issuer)


# ---------------------------------------------------------------- what is asked


def test_a_response_is_asked_for_as_rfc_5019_says(site: Web) -> None:
    certificate = leaf(ocsp_at(site.url("/ocsp")))
    site.says("/ocsp", CONTOSO.ocsp(certificate, **FRESH))
    with source(site) as one:
        (found,) = fetched(one, certificate)
    assert isinstance(found, StatusResponse)
    (request,) = site.requests
    assert request.method == "POST"
    assert request.headers["Content-Type"] == "application/ocsp-request"
    asked = ocsp.load_der_ocsp_request(request.body)
    assert asked.serial_number == certificate.serial_number
    assert asked.hash_algorithm.name == "sha1"
    assert list(asked.extensions) == []  # no nonce


def test_a_crl_is_got(site: Web) -> None:
    certificate = leaf(crl_at(site.url("/a.crl?delta=no")))
    site.says("/a.crl?delta=no", CONTOSO.crl(**FRESH))
    with source(site) as one:
        (found,) = fetched(one, certificate)
    assert isinstance(found, Crl)
    assert site.requests[0].method == "GET"


def test_one_answer_is_enough_and_the_next_place_is_asked_if_there_is_none(site: Web) -> None:
    points = crl_at(site.url("/gone.crl"), site.url("/a.crl"), site.url("/never.crl"))
    certificate = leaf(ocsp_at(site.url("/gone")), points)
    site.says("/a.crl", CONTOSO.crl(**FRESH))
    with source(site) as one:
        assert len(fetched(one, certificate)) == 1
    assert [request.path for request in site.requests] == ["/gone", "/gone.crl", "/a.crl"]


def test_certificates_of_one_issuer_share_a_crl(site: Web) -> None:
    first, second = (leaf(crl_at(site.url("/a.crl")), name=name) for name in ("a.com", "b.com"))
    site.says("/a.crl", CONTOSO.crl([second], **FRESH))
    with source(site) as one:
        one.prefetch(first, ISSUER)
        one.prefetch(second, ISSUER)
        assert one.drain(LONG)
        assert one.known(first, ISSUER) == one.known(second, ISSUER) != []
    assert len(site.requests) == 1


def test_points_that_tell_a_part_only_are_left_out(site: Web) -> None:
    name = [x509.UniformResourceIdentifier(site.url("/a.crl"))]
    some = x509.DistributionPoint(name, None, frozenset({x509.ReasonFlags.key_compromise}), None)
    other = [x509.DirectoryName(FABRIKAM.certificate.subject)]
    indirect = x509.DistributionPoint(name, None, None, other)
    relative = x509.DistributionPoint(other, None, None, None)
    points = x509.CRLDistributionPoints([some, indirect, relative])
    with source(site) as one:
        assert fetched(one, leaf((points, False))) == []
    assert site.requests == []


def test_where_the_issuer_is_to_be_had_is_no_responder(site: Web) -> None:
    method = AuthorityInformationAccessOID.CA_ISSUERS
    place = x509.UniformResourceIdentifier(site.url("/ca.crt"))
    access = x509.AuthorityInformationAccess([x509.AccessDescription(method, place)])
    with source(site) as one:
        assert fetched(one, leaf((access, False))) == []
    assert site.requests == []


def test_a_certificate_has_so_many_places_asked_and_no_more(site: Web) -> None:
    urls = [site.url(f"/{number}.crl") for number in range(20)]
    with source(site) as one:
        assert fetched(one, leaf(crl_at(*urls))) == []
    assert len(site.requests) == module._MAX_URLS


# ---------------------------------------------------------------- who is asked


def places(site: Web) -> dict[str, str]:
    host = site.place
    return {
        "another host": "http://crl.fabrikam.example/a.crl",
        "another port": "http://127.0.0.1:22/a.crl",
        "no port": "http://127.0.0.1/a.crl",
        "https": f"https://{host}/a.crl",
        "ldap": f"ldap://{host}/cn=a?certificateRevocationList",
        "ftp": f"ftp://{host}/a.crl",
        "file": "file:///etc/passwd",
        "a user": f"http://{host}@{host}/a.crl",
        "a user who looks like a host": f"http://crl.contoso.com\\@{host}/a.crl",
        "a line end": f"http://{host}/a.crl HTTP/1.1\r\nX: ",
        "no host": "http:///a.crl",
        "a port that is none": "http://127.0.0.1:x/a.crl",
        "no URL": "a.crl",
        "very long": f"http://{host}/{'a' * 2048}",
    }


@pytest.mark.parametrize("what", places(Web("127.0.0.1:80")))
def test_nobody_else_is_asked(site: Web, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "exchange", None)
    url = places(site)[what]
    with source(site, urls=lambda _: False) as one:
        one.prefetch(leaf(crl_at(url), ocsp_at(url)), ISSUER)
        assert one._is_idle()
        assert one._thread is None
    assert site.requests == []


@pytest.mark.parametrize("what", ["https", "ldap", "ftp", "file", "a user", "a line end"])
def test_no_rule_allows_what_is_not_plain_http(site: Web, what: str) -> None:
    url = places(site)[what]
    with source(site, urls=lambda _: True) as one:
        one.prefetch(leaf(crl_at(url)), ISSUER)
        assert one._thread is None


def test_by_default_nobody_is_asked_and_it_is_told_once(
    site: Web, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "siptls")
    certificate = leaf(crl_at(site.url("/a.crl")))
    with FetchingSource() as one:
        for _ in range(3):
            assert one.known(certificate, ISSUER) == []
        assert one._thread is None
    (record,) = caplog.records
    assert "/a.crl is not asked" in record.message
    assert "hosts=" in record.message


def test_a_rule_is_asked_and_nothing_but_true_is_a_yes(site: Web) -> None:
    certificate = leaf(crl_at(site.url("/no.crl"), site.url("/yes.crl"), site.url("/fails.crl")))
    site.says("/yes.crl", CONTOSO.crl(**FRESH))

    def rule(url: str) -> Any:
        if "fails" in url:
            raise RuntimeError("no rule")
        return True if "yes" in url else "perhaps"

    with source(site, hosts=(), urls=rule) as one:
        assert len(fetched(one, certificate)) == 1
    assert [request.path for request in site.requests] == ["/yes.crl"]


def test_no_proxy_is_used(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    certificate = leaf(crl_at(site.url("/a.crl")))
    site.says("/a.crl", CONTOSO.crl(**FRESH))
    with source(site) as one:
        assert len(fetched(one, certificate)) == 1


def test_urls_and_hosts_are_read_in_one_way() -> None:
    assert read_url("http://CRL.contoso.com")[0] == read_host("crl.contoso.com")
    assert read_url("HTTP://[::1]:81/x?y=1#z") == (read_host("[::1]:81"), "/x?y=1")


# ---------------------------------------------------------------- misbehaviour


def refuses(site: Web, certificate: x509.Certificate) -> None:
    def close(handler: Any) -> None:
        handler.close_connection = True

    site.replies["/x"] = close


def says_nothing(site: Web, certificate: x509.Certificate) -> None:
    site.replies["/x"] = lambda _: site.gate.wait(LONG) and None


def redirects(site: Web, certificate: x509.Certificate) -> None:
    site.says("/elsewhere", CONTOSO.crl(**FRESH))
    site.says("/x", b"", 302, Location=site.url("/elsewhere").replace("127.0.0.1", "localhost"))


def redirects_here(site: Web, certificate: x509.Certificate) -> None:
    site.says("/elsewhere", CONTOSO.crl(**FRESH))
    site.says("/x", b"", 301, Location="/elsewhere")


def saying(make: Callable[[x509.Certificate], bytes], status: int = 200, **headers: str) -> Any:
    return lambda site, certificate: site.says("/x", make(certificate), status, **headers)


def dripping(before: bytes) -> Any:
    def set_up(site: Web, certificate: x509.Certificate) -> None:
        site.replies["/x"] = drips(before)

    return set_up


SILENT = {
    "closes without a word": refuses,
    "says nothing": says_nothing,
    "drips its headers": dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "drips its body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"),
    "drips without an end": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
}
USELESS = {
    "404": (saying(lambda _: b"", 404), "answers 404"),
    "503": (saying(lambda _: b"", 503), "answers 503"),
    "no content": (saying(lambda _: b"", 204), "answers 204"),
    "redirects to another host": (redirects, "answers 302"),
    "redirects": (redirects_here, "answers 301"),
    "no HTTP": (
        lambda site, _: site.replies.update(
            {"/x": lambda one: one.wfile.write(b"SIP/2.0 200\r\n")}
        ),
        "does not speak HTTP",
    ),
    "too long": (saying(lambda _: b"x" * 1_000_001), "more than 1000000 bytes"),
    "promises too much": (
        saying(lambda _: b"", Content_Length="1000000000000"),
        "more than 1000000 bytes",
    ),
    "lacks bytes": (
        saying(lambda c: CONTOSO.crl(**FRESH), Content_Length="5000"),
        "lacks",
    ),
    "cuts it off": (
        saying(lambda c: CONTOSO.crl(**FRESH), Content_Length="50"),
        "error parsing",
    ),
    "garbage": (saying(lambda _: b"<html>"), "error parsing"),
    "nothing": (saying(lambda _: b""), "error parsing"),
    "PEM": (saying(lambda _: CONTOSO.pem), "error parsing"),
}
USELESS_CRLS = {
    "of another CA": (saying(lambda _: FABRIKAM.crl(**FRESH)), "about another one"),
    "signed by another": (
        saying(lambda _: CONTOSO.crl(key=FABRIKAM.key, **FRESH)),
        "another key|bad signature",
    ),
    "stale": (saying(lambda _: CONTOSO.crl(**STALE)), "is stale"),
    "a response": (saying(lambda c: CONTOSO.ocsp(c, **FRESH)), "error parsing"),
}
USELESS_RESPONSES = {
    "of another": (
        saying(lambda _: CONTOSO.ocsp(leaf(name="other.com"), **FRESH)),
        "about another one",
    ),
    "of another CA": (saying(lambda c: FABRIKAM.ocsp(c, **FRESH)), "about another one"),
    "signed by another": (
        saying(lambda c: CONTOSO.ocsp(c, key=FABRIKAM.key, **FRESH)),
        "bad signature",
    ),
    "stale": (saying(lambda c: CONTOSO.ocsp(c, **STALE)), "is stale"),
    "unknown": (saying(lambda c: CONTOSO.ocsp(c, status="unknown", **FRESH)), "unknown to its"),
    "try later": (saying(lambda c: CONTOSO.ocsp(c, status="tryLater")), "try later"),
    "a CRL": (saying(lambda _: CONTOSO.crl(**FRESH)), "error parsing"),
    "too long for one": (saying(lambda _: b"x" * 65537), "more than 65536 bytes"),
}
ROWS = [
    *((kind, name, row) for kind in (crl_at, ocsp_at) for name, row in USELESS.items()),
    *((crl_at, name, row) for name, row in USELESS_CRLS.items()),
    *((ocsp_at, name, row) for name, row in USELESS_RESPONSES.items()),
]


@pytest.mark.parametrize(
    ("kind", "row"),
    [pytest.param(kind, row, id=f"{kind.__name__} {name}") for kind, name, row in ROWS],
)
def test_what_is_of_no_use_is_not_kept(
    site: Web, kind: Any, row: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    set_up, told = row
    certificate = leaf(kind(site.url("/x")))
    set_up(site, certificate)
    clock, told_of = Clock(), []
    if kind is ocsp_at:
        told = told.replace("1000000", "65536")
    options = {"clock": clock, "on_change": lambda: told_of.append(1), "max_size": 1_000_000}
    with source(site, **options) as one:
        assert fetched(one, certificate) == []
        assert one._is_idle()  # for a minute nobody is asked
        clock.now += dt.timedelta(seconds=61)
        assert fetched(one, certificate) == []
        clock.now += dt.timedelta(seconds=61)
        assert one.known(certificate, ISSUER) == []
        assert one._is_idle()  # the second time for two
    assert site.asked("/x") == 2
    assert site.asked("/elsewhere") == 0
    assert told_of == []
    found = [record.message for record in caplog.records]
    assert len(found) == 2
    assert re.search(told, found[0])


@pytest.mark.parametrize("name", SILENT)
def test_who_does_not_answer_in_time_is_left_alone(
    site: Web, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever he is asked: another certificate changes nothing.

    Of what drips each byte is read for itself, and each look at the clock costs a second.
    """
    timeout = 0.05
    if name != "says nothing":
        timeout, ticks, read = 9.0, itertools.count(), exchange_module._Socket.recv_into
        monkeypatch.setattr(exchange_module, "monotonic", lambda: float(next(ticks)))
        one_byte = lambda sock, buffer: read(sock, buffer, 1)  # noqa: E731  a method
        monkeypatch.setattr(exchange_module._Socket, "recv_into", one_byte)
    SILENT[name](site, leaf())
    certificate = leaf(crl_at(site.url("/x")), ocsp_at(site.url("/x")))
    clock = Clock()
    with source(site, clock=clock, timeout=timeout) as one:
        assert one.known(certificate, ISSUER) == []
        assert one.drain()
        one.prefetch(leaf(crl_at(site.url("/x")), name="b.com"), ISSUER)
        assert one._is_idle()
        assert site.asked("/x") == 1
        clock.now += dt.timedelta(seconds=61)
        one.known(certificate, ISSUER)
        assert one.drain()
        assert site.asked("/x") == 2


def test_a_host_that_is_not_there(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = leaf(crl_at("http://nobody.invalid/a.crl"))
    monkeypatch.setattr(exchange_module.socket, "getaddrinfo", lambda *_, **__: [])
    with source(site, hosts=["nobody.invalid"]) as one:
        assert fetched(one, certificate) == []
        assert one._is_idle()


def test_a_host_whose_first_address_refuses(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    module_socket = exchange_module.socket
    host, port = site.place.split(":")
    with module_socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        places = [(2, 1, 6, "", unused.getsockname()), (2, 1, 6, "", (host, int(port)))]
        monkeypatch.setattr(module_socket, "getaddrinfo", lambda *_, **__: places)
        site.says("/a.crl", CONTOSO.crl(**FRESH))
        with source(site, hosts=["crl.contoso.com"]) as one:
            assert len(fetched(one, leaf(crl_at("http://crl.contoso.com/a.crl")))) == 1


# ---------------------------------------------------------------- over time


def test_it_is_asked_again_ahead_and_the_old_answer_serves_until_then(site: Web) -> None:
    certificate, clock = leaf(crl_at(site.url("/a.crl"))), Clock()
    first = CONTOSO.crl(**FRESH)
    site.says("/a.crl", first)
    with source(site, clock=clock) as one:
        fetched(one, certificate)
        clock.now += 59 * dt.timedelta(minutes=1)
        assert len(one.known(certificate, ISSUER)) == 1
        assert one._is_idle()
        site.replies.clear()
        clock.now += dt.timedelta(minutes=1)
        for _ in range(2):  # the second time while it pauses
            assert [found.der for found in one.known(certificate, ISSUER)] == [first]
            assert one.drain(LONG)
        assert site.asked("/a.crl") == 2
        second = CONTOSO.crl([certificate], this_update=NOW, next_update=NOW + 7 * DAY)
        site.says("/a.crl", second)
        clock.now += dt.timedelta(minutes=2)
        one.known(certificate, ISSUER)
        assert one.drain(LONG)
        assert [found.der for found in one.known(certificate, ISSUER)] == [second]


def test_half_of_a_short_life_is_enough(site: Web) -> None:
    certificate, clock = leaf(ocsp_at(site.url("/x"))), Clock()
    short = {"this_update": NOW - HOUR, "next_update": NOW + dt.timedelta(minutes=20)}
    site.says("/x", CONTOSO.ocsp(certificate, **short))
    with source(site, clock=clock) as one:
        fetched(one, certificate)
        clock.now += dt.timedelta(minutes=10)
        one.known(certificate, ISSUER)
        assert one.drain(LONG)
    assert len(site.requests) == 2


def test_it_is_kept_fresh_though_nobody_connects_for_eight_days_and_no_more(site: Web) -> None:
    certificate, clock = leaf(crl_at(site.url("/a.crl"))), Clock()
    site.says("/a.crl", CONTOSO.crl(this_update=NOW, next_update=NOW + 30 * DAY))
    with source(site, clock=clock) as one:
        fetched(one, certificate)
        clock.now += HOUR
        with one._changed:
            one._changed.notify_all()  # it looks by itself every half a minute
            assert one._changed.wait_for(lambda: site.asked("/a.crl") == 2, LONG)  # told at its end
        assert one.drain(LONG)
        clock.now += 8 * DAY
        assert one._cache.due(clock.now) == []


def test_an_older_answer_replaces_no_newer_one(site: Web) -> None:
    """Who sits between can say again what was true once."""
    certificate, clock = leaf(ocsp_at(site.url("/x"))), Clock()
    site.says("/x", CONTOSO.ocsp(certificate, status="revoked", **FRESH))
    with source(site, clock=clock) as one:
        before = fetched(one, certificate)
        earlier = {"this_update": NOW - 2 * DAY, "next_update": NOW + 6 * DAY}
        site.says("/x", CONTOSO.ocsp(certificate, **earlier))
        clock.now += HOUR
        one.known(certificate, ISSUER)
        assert one.drain(LONG)
        assert one.known(certificate, ISSUER) == before
    assert len(site.requests) == 2


def test_who_wants_it_is_told_what_is_new_and_only_that(
    site: Web, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, clock, told = leaf(crl_at(site.url("/a.crl"))), Clock(), []

    def on_change() -> None:
        told.append(threading.current_thread().name)
        raise RuntimeError("ours")

    site.says("/a.crl", CONTOSO.crl(**FRESH))
    with source(site, clock=clock, on_change=on_change) as one:
        fetched(one, certificate)
        clock.now += HOUR
        one.known(certificate, ISSUER)
        assert one.drain(LONG)
        assert site.asked("/a.crl") == 2
        assert told == ["siptls-fetch"]
        assert "on_change failed" in caplog.text


# ---------------------------------------------------------------- nobody waits


def test_known_leaves_all_that_takes_time_to_the_thread(
    site: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching, reading and the check of a CRL's signature, whatever becomes of them."""
    seen: set[tuple[str, str]] = set()

    def noted(name: str, function: Any) -> Any:
        def noting(*arguments: Any, **options: Any) -> Any:
            seen.add((name, threading.current_thread().name))
            return function(*arguments, **options)

        return noting

    monkeypatch.setattr(module, "exchange", noted("exchange", module.exchange))
    monkeypatch.setattr(Crl, "read", noted("read", Crl.read))
    certificate = leaf(crl_at(site.url("/a.crl")))
    site.says("/a.crl", CONTOSO.crl(**FRESH))
    with source(site) as one:
        authority = CONTOSO.authority(revocation=Revocation(source=one))
        shown = Evidence((certificate,), Role.SERVER, now=NOW)
        assert not isinstance(authority.verify(shown), ProvenPath)
        assert one.drain(LONG)
        (found,) = one.known(certificate, ISSUER)
        assert isinstance(found, Crl)
        assert list(found._signed.values()) == [True]
        assert isinstance(authority.verify(evolve(shown)), ProvenPath)
    assert seen == {("exchange", "siptls-fetch"), ("read", "siptls-fetch")}


def test_known_answers_while_something_is_fetched_and_nothing_is_queued_twice(site: Web) -> None:
    started = threading.Event()

    def reply(handler: Any) -> None:
        started.set()
        site.gate.wait(LONG)
        handler.send_error(404)

    site.replies["/x"] = reply
    certificates = [leaf(crl_at(site.url("/x")), name=f"{n}.com") for n in range(3)]
    with source(site, max_entries=2) as one:
        for _ in range(3):
            one.prefetch(certificates[0], ISSUER)
            assert started.wait(LONG)
            for certificate in certificates:
                assert one.known(certificate, ISSUER) == []
        assert [want.certificate for want in one._queue] == certificates[1:]  # one is at work
        assert not one.drain(0)
        site.gate.set()
        assert one.drain(LONG)
    assert len(site.requests) == 1  # they ask for the same CRL


def test_the_queue_is_bounded(site: Web, caplog: pytest.LogCaptureFixture) -> None:
    site.replies["/x"] = lambda _: site.gate.wait(LONG) and None
    with source(site, max_entries=2) as one:
        for number in range(9):
            one.prefetch(leaf(ocsp_at(site.url("/x")), name=f"{number}.com"), ISSUER)
        assert len(one._queue) <= 2
        assert "one is left out" in caplog.text
        site.gate.set()


def test_after_close_there_is_what_there_was(site: Web) -> None:
    certificate = leaf(crl_at(site.url("/a.crl")))
    site.says("/a.crl", CONTOSO.crl(**FRESH))
    with source(site) as one:
        fetched(one, certificate)
    one.close()
    assert len(one.known(certificate, ISSUER)) == 1
    assert one.known(leaf(ocsp_at(site.url("/x"))), ISSUER) == []
    assert one.drain(0)
    assert len(site.requests) == 1


def test_it_may_be_closed_by_the_one_who_is_told(site: Web) -> None:
    certificate = leaf(crl_at(site.url("/a.crl")))
    site.says("/a.crl", CONTOSO.crl(**FRESH))
    closing: list[FetchingSource] = []
    one = source(site, on_change=lambda: [each.close() for each in closing])
    closing.append(one)
    one.prefetch([certificate, ISSUER])
    assert one._thread is not None
    one._thread.join(LONG)
    assert not one._thread.is_alive()


def test_a_thread_that_is_busy_ends_after_close(
    site: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_CLOSE_TIMEOUT", 0.01)
    started = threading.Event()

    def reply(_: Any) -> None:
        started.set()
        site.gate.wait(LONG)

    site.replies["/x"] = reply
    one = source(site, timeout=LONG)
    one.prefetch(leaf(crl_at(site.url("/x"), site.url("/y"))), ISSUER)
    assert started.wait(LONG)
    one.close()
    assert "ends after it" in caplog.text
    site.gate.set()
    assert one._thread is not None
    one._thread.join(LONG)
    assert site.asked("/y") == 0


def test_a_look_up_that_fails_ends_no_thread(site: Web, caplog: pytest.LogCaptureFixture) -> None:
    failing = [RuntimeError("no clock")]

    def clock() -> dt.datetime:
        if failing and threading.current_thread().name == "siptls-fetch":
            raise failing.pop()
        return NOW

    certificate = leaf(crl_at(site.url("/a.crl")))
    site.says("/a.crl", CONTOSO.crl(**FRESH))
    with source(site, clock=clock) as one:
        assert fetched(one, certificate) == []
        assert "looking for a status failed" in caplog.text
        assert one.drain(LONG)
        assert len(one.known(certificate, ISSUER)) == 1


# ---------------------------------------------------------------- bounds


def test_the_cache_is_bounded_by_bytes_and_by_entries() -> None:
    crls = [Crl.read(CONTOSO.crl(number=number, **FRESH)) for number in range(1, 5)]
    size = max(len(crl.der) for crl in crls)
    for options in ({"max_entries": 9, "max_size": 2 * size}, {"max_entries": 2, "max_size": 9**9}):
        cache = Cache(refresh=HOUR, **options)
        wants = [
            evolve(want, questions=tuple(want.named()))
            for number in range(4)
            for want in [Want(leaf(crl_at(f"http://crl.contoso.com/{number}")), ISSUER)]
        ]
        for want, crl in zip(wants, crls, strict=True):
            assert cache.keep(want.questions[0], want, crl, None, NOW)
            cache.find(wants[0], NOW)  # who is asked for stays
        kept = [bool(cache.find(want, NOW)) for want in wants]
        assert kept == [True, False, False, True]
        assert not cache.keep(wants[0].questions[0], wants[0], crls[0], None, NOW)
        assert cache._size == sum(entry.size for entry in cache._entries.values())


def test_silence_is_remembered_for_so_many_and_for_an_hour_at_most() -> None:
    cache = Cache(refresh=HOUR, max_entries=9, max_size=9)
    for number in range(300):
        cache.note_silent(f"http://{number}.example/", NOW)
    assert len(cache._silent) == 256
    for _ in range(100):
        cache.note_silent("http://299.example/", NOW)
    assert cache._silent["http://299.example/"].due == NOW + HOUR


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hosts": "crl.contoso.com"}, "hosts= is a list"),
        ({"hosts": ["http://crl.contoso.com/"]}, "hosts= holds names such as"),
        ({"hosts": ["a@b"]}, "hosts= holds names such as"),
        ({"hosts": ["a:b"]}, "hosts= holds names such as"),
        ({"hosts": [b"a"]}, "hosts= holds names of hosts"),
        ({"hosts": 1}, "hosts are a list"),
        ({"urls": "a"}, "urls= is a plain function"),
        ({"on_change": asyncio.sleep}, "a coroutine function"),
        ({"timeout": 0}, "timeout is a positive number of seconds"),
        ({"refresh": float("nan")}, "refresh is a positive number of seconds"),
        ({"max_size": 1.5}, "max_size is a positive whole number"),
        ({"max_entries": True}, "max_entries is a positive whole number"),
        ({"cache_size": 10}, "cache_size= has room"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        FetchingSource(**options)


@pytest.mark.parametrize("arguments", [([],), (ISSUER,), ([ISSUER, "a"],), ([ISSUER],)])
def test_prefetch_wants_an_issuer(arguments: Any) -> None:
    with pytest.raises(ConfigurationError, match="has the next one as its issuer"):
        FetchingSource().prefetch(*arguments)


# ---------------------------------------------------------------- handshakes


async def test_refused_then_accepted_then_let_go(site: Web, tls_version: str) -> None:
    """The whole way, with a client that is strict."""
    ours = REAL.issue("sip:contoso.com", extensions=[ocsp_at(site.url("/x"))])
    site.says("/x", REAL.ocsp(ours))
    clock = Clock(dt.datetime.now(dt.UTC))
    transports: list[Any] = []
    update = lambda: [one.update() for one in transports]  # noqa: E731  as an application has it
    with source(site, clock=clock, on_change=update) as one:
        policy = Enterprise(["contoso.com"], REAL.authority(revocation=Revocation(source=one)))
        async with serving(credential=ours) as server, client(policy) as transport:
            transports.append(transport)
            with pytest.raises(PeerRefusedError) as refused:
                await transport.connect("sip:contoso.com", **server.place)
            assert refused.value.decision.code == Code.PATH_REVOCATION_UNKNOWN
            assert await asyncio.to_thread(one.drain, LONG)
            connection = await transport.connect("sip:contoso.com", **server.place)
            transport.update()
            await connection.ping()
            site.says("/x", REAL.ocsp(ours, status="revoked", this_update=clock.now))
            clock.now += HOUR
            transport.update()
            with pytest.raises(TrustLostError) as lost:
                await connection.receive()
            assert lost.value.decision.code == Code.PATH_REVOKED
            with pytest.raises(PeerRefusedError) as refused:
                await transport.connect("sip:contoso.com", **server.place)
            assert refused.value.decision.code == Code.PATH_REVOKED
