"""Traffic: one account for each certificate, however many connections, threads and strangers."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from attrs import evolve, frozen
from certificates import NOW, YEAR, Made, make, make_ca, show, with_serial
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls import BelievedName, Code, ConfigurationError, Decision, Evidence, Fault, Peer, Role
from siptls.trust.account import Account, AccountState, TrafficLimits
from siptls.wire.report import CertificateName, PeerReport
from siptls.wire.traffic import Meter, Traffic

LIMITS = TrafficLimits()
START = 1000.0
SECOND = dt.timedelta(seconds=1)


@frozen
class LimitedPeer(Peer):
    """A peer who was found, and whom nobody has listed."""

    limits: TrafficLimits | None = LIMITS


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


@pytest.fixture(scope="module")
def leaf(root: Made) -> x509.Certificate:
    return make("contoso.com", root).certificate


def peer(
    *chain: x509.Certificate, limits: TrafficLimits | None = LIMITS, name: str = "contoso.com"
) -> LimitedPeer:
    return LimitedPeer([BelievedName(name)], chain, NOW + YEAR, limits=limits)


def enter(traffic: Traffic, who: Peer, now: float = START) -> Meter:
    meter = traffic.enter(who, now)
    assert isinstance(meter, Meter)
    return meter


def refused_for_connections(traffic: Traffic, who: Peer) -> Fault:
    fault = traffic.enter(who, START)
    assert isinstance(fault, Fault)
    assert fault.code is Code.PARTNER_LIMIT
    return fault


def refusal(
    *chain: x509.Certificate, code: Code = Code.PATH_UNKNOWN_CA, after: int = 0
) -> Decision:
    evidence = evolve(show(*chain, now=NOW + after * SECOND), address=("192.0.2.1", 5061 + after))
    return Decision.refuse(code, f"for the reason {after}", evidence=evidence)


def told(traffic: Traffic, now: float = START) -> list[PeerReport]:
    return list(traffic.report(now).peers)


# ---------------------------------------------------------------- whose account


def test_the_connections_of_a_certificate_share_an_account(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    first, second = enter(traffic, peer(leaf)), enter(traffic, peer(leaf))
    for _ in range(10):
        first.take(START)
        second.take(START)
    assert first.due(START) == second.due(START) > START
    (one,) = told(traffic)
    assert (one.messages, one.connections) == (20, 2)


def test_certificates_differ_by_issuer_or_by_serial_number(root: Made) -> None:
    made = make("contoso.com", root)
    same = with_serial(make("other.example", root), made.certificate.serial_number, root)
    next_one = with_serial(made, made.certificate.serial_number ^ 1, root)
    elsewhere = make("contoso.com", make_ca("Fabrikam CA"))
    elsewhere = with_serial(elsewhere, made.certificate.serial_number, elsewhere)
    traffic = Traffic()
    for one in (made, same, next_one, elsewhere):
        enter(traffic, peer(one.certificate))
    assert [one.connections for one in told(traffic)] == [1, 1, 2]


def test_a_peer_without_a_path_is_known_by_its_names() -> None:
    traffic = Traffic()
    for name in ("a.example", "b.example", "a.example"):
        enter(traffic, peer(name=name))
    assert [one.connections for one in told(traffic)] == [2, 1]
    assert told(traffic)[0].certificate.description == "(no certificate)"


@pytest.mark.parametrize("number", [0, -1, -(2**2400), 2**2400], ids=["0", "-1", "low", "high"])
def test_any_serial_number_has_an_account(root: Made, number: int) -> None:
    certificate = with_serial(make("contoso.com", root), number, root).certificate
    traffic = Traffic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enter(traffic, peer(certificate))
        enter(traffic, peer(certificate))
        traffic.refuse(refusal(certificate))
        assert traffic.pardon(certificate)
        assert told(traffic)[0].connections == 2


def test_what_cannot_be_decoded_has_an_account(root: Made) -> None:
    der = make("leaf", root, issued_by="above").certificate.public_bytes(Encoding.DER)
    der = der.replace(b"above", b"\xff\xfe\xfd\xfc\xfb").replace(b"leaf", b"\xff\xfe\xfd\xfc")
    broken = x509.load_der_x509_certificate(der)
    traffic = Traffic()
    enter(traffic, peer(broken))
    enter(traffic, peer(broken))
    traffic.refuse(refusal(broken))
    assert told(traffic)[0].connections == 2
    assert traffic.report(START).refused[0].certificate.description.startswith("(subject that")


# ---------------------------------------------------------------- connections


def test_a_certificate_has_only_so_many_connections(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    meters = [enter(traffic, peer(leaf)) for _ in range(4)]
    fault = refused_for_connections(traffic, peer(leaf))
    assert fault.reason.startswith("CN=contoso.com (serial ")
    assert fault.reason.endswith("has 4 connections already; expected at most 4")
    meters[0].leave()
    meters[0].leave()
    enter(traffic, peer(leaf))
    refused_for_connections(traffic, peer(leaf))
    (one,) = told(traffic)
    assert one.connections == 4
    assert one.refusals == {"partner.limit": 2}


def test_without_limits_there_may_be_any_number(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    meters = [enter(traffic, peer(leaf, limits=None)) for _ in range(50)]
    assert not meters[0].limited
    refused_for_connections(traffic, peer(leaf))


def test_a_peer_that_knows_no_limits_has_none(leaf: x509.Certificate) -> None:
    meter = enter(Traffic(), Peer([BelievedName("contoso.com")], [leaf], NOW + YEAR))
    assert not meter.limited


def test_whoever_is_judged_again_has_other_limits_and_names(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    meter = enter(traffic, peer(leaf))
    assert meter.limited
    meter.follow(peer(leaf, limits=None, name="fabrikam.com"))
    assert not meter.limited
    (one,) = told(traffic)
    assert (one.names, one.limits) == (("fabrikam.com",), None)


def test_who_comes_back_has_the_account_that_he_had(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    meter = enter(traffic, peer(leaf))
    for _ in range(20):
        meter.take(START)
    meter.leave()
    assert told(traffic)[0].connections == 0
    again = enter(traffic, peer(leaf))
    assert again.due(START) > START
    assert told(traffic)[0].connections == 1


def test_a_meter_writes_all_into_the_account(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    meter = enter(traffic, peer(leaf, limits=evolve(LIMITS, distinct_uris=1, burst=1)))
    meter.take(START)
    assert meter.due(START) > START
    meter.asked()
    assert meter.due(START, answer=True) == START
    meter.take(START, answer=True)
    assert meter.uri_fault("sip:a@contoso.com") is None
    assert meter.uri_fault("sip:b@contoso.com") is not None
    meter.answered(200, START)
    meter.answered(404, START)
    meter.spoke_for("sales.contoso.com")
    meter.refused(Code.SENDER_NOT_AUTHORIZED)
    (one,) = told(traffic)
    assert (one.messages, one.uris, one.succeeded, one.failed) == (2, 1, 1, 1)
    assert one.messages_per_second == round(2 / 60, 3)
    assert one.domains == ("sales.contoso.com",)
    assert one.refusals == {"sender.not-authorized": 1}
    assert one.state is AccountState.WATCHED
    assert one.trust == "public"


def test_pardon(root: Made, leaf: x509.Certificate) -> None:
    traffic = Traffic()
    meter = enter(traffic, peer(leaf))
    for _ in range(20):
        meter.answered(404, START)
    assert told(traffic)[0].state is AccountState.SUSPICIOUS
    assert traffic.pardon(leaf)
    assert told(traffic)[0].state is AccountState.NORMAL
    meter.leave()
    assert traffic.pardon(leaf)
    assert not traffic.pardon(root.certificate)


def test_names_of_a_report_are_bounded(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    names = [BelievedName(f"{number:03}.example") for number in range(100)]
    enter(traffic, LimitedPeer(names, [leaf], NOW + YEAR))
    (one,) = told(traffic)
    assert len(one.names) == 64
    assert one.more_names == 36


# ---------------------------------------------------------------- who was refused


def test_a_refused_certificate_is_remembered_with_the_last_reason(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    traffic.refuse(refusal(leaf))
    traffic.refuse(refusal(leaf, code=Code.PATH_EXPIRED, after=60))
    (one,) = traffic.report(START).refused
    assert (one.code, one.reason, one.times) == ("path.expired", "for the reason 60", 2)
    assert (one.when, one.address) == (NOW + 60 * SECOND, ("192.0.2.1", 5121))


def test_nothing_is_remembered_of_whom_there_is_no_certificate(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    traffic.refuse(refusal())
    traffic.refuse(Decision.refuse(Code.POLICY_ERROR, "no evidence"))
    traffic.refuse(Decision.accept(peer(leaf), "accepted", evidence=show(leaf)))
    assert traffic.report(START).refused == ()


# ---------------------------------------------------------------- what is remembered


def many(certificate: x509.Certificate, count: int) -> Iterator[x509.Certificate]:
    """Certificates that differ by serial number, unsigned; each as a stranger might make it."""
    der = certificate.public_bytes(Encoding.DER)
    serial = certificate.serial_number.to_bytes(20, "big").lstrip(b"\0")
    place = der.index(serial)
    for number in range(count):
        start = place + len(serial) - 4
        yield x509.load_der_x509_certificate(
            der[:start] + number.to_bytes(4, "big") + der[start + 4 :]
        )


def descriptions(traffic: Traffic) -> list[str]:
    return [one.certificate.serial[-1] for one in told(traffic)]


def test_the_least_recently_used_idle_account_is_forgotten(leaf: x509.Certificate) -> None:
    traffic = Traffic(accepted=2)
    certificates = list(many(leaf, 5))
    meters = [enter(traffic, peer(one)) for one in certificates]
    assert descriptions(traffic) == ["4", "3", "2", "1", "0"]
    for number in (0, 1, 2):
        meters[number].leave()
    assert descriptions(traffic) == ["4", "3", "2", "1"]
    enter(traffic, peer(certificates[1])).leave()
    meters[3].leave()
    assert descriptions(traffic) == ["4", "3", "1"]


def test_who_enters_again_is_the_latest(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    certificates = list(many(leaf, 3))
    for number in (0, 1, 2, 0):
        enter(traffic, peer(certificates[number]))
    assert descriptions(traffic) == ["0", "2", "1"]


def test_who_is_connected_is_never_forgotten(leaf: x509.Certificate) -> None:
    traffic = Traffic(accepted=1)
    meters = [enter(traffic, peer(one)) for one in many(leaf, 50)]
    assert len(told(traffic)) == 50
    for meter in meters:
        meter.leave()
    assert len(told(traffic)) == 1


def test_the_refused_one_longest_ago_is_forgotten(leaf: x509.Certificate) -> None:
    traffic = Traffic(refused=2)
    certificates = list(many(leaf, 3))
    for number in (0, 1, 0, 2):
        traffic.refuse(refusal(certificates[number]))
    refused = traffic.report(START).refused
    assert [(one.certificate.serial[-1], one.times) for one in refused] == [("2", 1), ("0", 2)]


def growth(doing: Callable[[x509.Certificate], None], leaf: x509.Certificate) -> int:
    """Bytes by which memory grows by the last 2,000 of 100,000 certificates.

    Only the last 3,000 are traced, and named, since both are slow: the first of them take all
    places. What grows then is the dictionary that moves once.
    """
    certificates = many(leaf, 100_000)
    name = CertificateName.of(leaf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CertificateName, "of", lambda _: name)
        for certificate in islice(certificates, 97_000):
            doing(certificate)
    tracemalloc.start()
    try:
        for certificate in islice(certificates, 1_000):
            doing(certificate)
        before, _ = tracemalloc.get_traced_memory()
        for certificate in certificates:
            doing(certificate)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_hundred_thousand_certificates_leave_a_bounded_memory(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    shared = peer(leaf)

    def come_and_go(certificate: x509.Certificate) -> None:
        meter = enter(traffic, evolve(shared, chain=[certificate]))
        meter.take(START)
        meter.uri_fault("sip:a@contoso.com")
        meter.leave()

    assert growth(come_and_go, leaf) < 300_000
    assert len(traffic._idle) == 1000
    assert not traffic._live


def test_a_hundred_thousand_refusals_leave_a_bounded_memory(leaf: x509.Certificate) -> None:
    traffic = Traffic()

    def refuse(certificate: x509.Certificate) -> None:
        evidence = Evidence([certificate], Role.CLIENT, now=NOW)
        traffic.refuse(Decision.refuse(Code.NAME_NONE, "no name", evidence=evidence))

    assert growth(refuse, leaf) < 300_000
    assert len(traffic._refused) == 500


@pytest.mark.parametrize("name", ["accepted", "refused"])
@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None])
def test_how_many_are_remembered_is_a_count(name: str, bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} is a positive whole number"):
        Traffic(**{name: bad})


def test_who_owes_messages_gets_no_connection_before_they_are_made_up_for(
    leaf: x509.Certificate,
) -> None:
    """Else whoever cuts each connection in the middle of a flood would have no limit."""
    traffic, who = Traffic(), peer(leaf, limits=evolve(LIMITS, burst=5))
    meter = enter(traffic, who)
    for _ in range(5 + 4 + 20):
        meter.take(START)
    fault = traffic.enter(who, START)
    assert isinstance(fault, Fault)
    assert (fault.code, fault.found) == (
        Code.PARTNER_LIMIT,
        "has sent 24 messages more than it may",
    )
    meter.leave()
    assert isinstance(traffic.enter(who, START + 0.99), Fault)
    assert isinstance(traffic.enter(who, START + 1.01), Meter)  # 20 of them, at 20 a second


# ---------------------------------------------------------------- threads


def test_threads_lose_no_message_and_no_connection(leaf: x509.Certificate) -> None:
    traffic = Traffic()
    who = peer(leaf, limits=evolve(LIMITS, burst=1, connections=10_000))
    count, rounds = 8, 400
    ready = threading.Barrier(count)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            ready.wait()
            for turn in range(rounds):
                meter = enter(traffic, who)
                meter.take(START)
                meter.uri_fault(f"sip:{turn % 100}@{number}.example")
                meter.leave()
                if turn % 100 == 0:
                    traffic.report(START)
                    traffic.refuse(refusal(leaf))
        except BaseException as error:  # noqa: BLE001  it is told below
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    (one,) = told(traffic)
    assert (one.messages, one.connections, one.uris) == (count * rounds, 0, 800)
    assert enter(traffic, who).due(START) == pytest.approx(START + count * rounds / 20, abs=1e-6)
    assert traffic.report(START).refused[0].times == count * 4


ACCOUNT_CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("due", (START,)),
    ("take", (START,)),
    ("uri_fault", ("sip:a@contoso.com",)),
    ("asked", ()),
    ("answered", (200, START)),
    ("spoke_for", ("contoso.com",)),
    ("refused", (Code.SENDER_NOT_AUTHORIZED,)),
]


@pytest.mark.parametrize(("name", "arguments"), ACCOUNT_CALLS)
def test_each_look_at_an_account_has_the_lock(
    name: str, arguments: tuple[Any, ...], leaf: x509.Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic()
    meter = enter(traffic, peer(leaf))
    locked = []
    original = getattr(Account, name)

    def watched(*given: Any, **more: Any) -> Any:
        locked.append(traffic._lock.locked())
        return original(*given, **more)

    monkeypatch.setattr(Account, name, watched)
    getattr(meter, name)(*arguments)
    assert locked == [True]
    assert not traffic._lock.locked()


@pytest.mark.parametrize("name", ["enter", "follow", "leave", "pardon", "report"])
def test_all_else_waits_for_the_lock(name: str, leaf: x509.Certificate) -> None:
    """The thread cannot have ended while another one has the lock."""
    traffic = Traffic()
    meter = enter(traffic, peer(leaf))
    calls: dict[str, Callable[[], object]] = {
        "enter": lambda: traffic.enter(peer(leaf), START),
        "follow": lambda: meter.follow(peer(leaf, limits=None)),
        "leave": meter.leave,
        "pardon": lambda: traffic.pardon(leaf),
        "report": lambda: traffic.report(START),
    }
    entered = threading.Event()

    class Watched:
        """The lock, which tells when somebody asks for it."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            entered.set()
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    lock = Watched()
    traffic._lock = meter._lock = lock  # type: ignore[assignment]
    lock.lock.acquire()
    thread = threading.Thread(target=calls[name])
    thread.start()
    assert entered.wait(30)
    assert thread.is_alive()
    assert told_without_lock(traffic) == [(1, True)]
    lock.lock.release()
    thread.join(30)
    assert not thread.is_alive()


def told_without_lock(traffic: Traffic) -> list[tuple[int, bool]]:
    return [
        (entry.connections, entry.account.limits is not None)
        for entry in [*traffic._live.values(), *traffic._idle.values()]
    ]
