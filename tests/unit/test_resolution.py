"""From a name to addresses: what the system says, and how it is told when it says nothing."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections import Counter
from typing import Any

import pytest

from siptls import (
    ConfigurationError,
    ReferenceIdentity,
    ResolutionError,
    StaticResolver,
    SystemResolver,
    Target,
)
from siptls.transports.resolution import (
    SIPS_PORT,
    Resolver,
    check_host,
    check_port,
    check_resolver,
    find,
    find_blocking,
    in_order,
    lookup,
)

CONTOSO = ReferenceIdentity.parse("contoso.com")


def system(monkeypatch: pytest.MonkeyPatch, answer: Exception | list[str]) -> list[tuple[Any, Any]]:
    """Let the running loop's getaddrinfo give these addresses, or fail; note what it is asked."""
    asked: list[tuple[Any, Any]] = []

    async def getaddrinfo(host: str, port: int, *, type: int) -> list[Any]:  # noqa: A002
        assert type == socket.SOCK_STREAM
        asked.append((host, port))
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


# ---------------------------------------------------------------- what is found


async def test_localhost_has_a_loopback_address() -> None:
    targets = await lookup("localhost", 5061, CONTOSO)
    assert {target.address for target in targets} & {"127.0.0.1", "::1"}
    for target in targets:
        assert (target.port, target.host, target.reference) == (5061, "localhost", CONTOSO)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_address_stays_itself_and_is_no_host_name(address: str) -> None:
    targets = await lookup(address, 5062, CONTOSO)
    assert targets == [Target(address, 5062, host=None, reference=CONTOSO)]


async def test_addresses_keep_the_systems_order_and_come_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system sorts them (RFC 6724), and gives one twice if the hosts file does."""
    system(monkeypatch, ["2001:db8::1", "192.0.2.2", "2001:db8::1", "192.0.2.1"])
    targets = await lookup("sip.contoso.com", 5061, CONTOSO)
    addresses = [target.address for target in targets]
    assert addresses == ["2001:db8::1", "192.0.2.2", "192.0.2.1"]
    assert {(target.priority, target.weight) for target in targets} == {(0, 0)}


@pytest.mark.parametrize(("port", "asked"), [(None, SIPS_PORT), (5099, 5099)])
async def test_the_system_resolver_looks_for_the_domain_itself(
    monkeypatch: pytest.MonkeyPatch, port: int | None, asked: int
) -> None:
    noted = system(monkeypatch, ["192.0.2.1"])
    targets = await SystemResolver().resolve(CONTOSO, port=port)
    assert noted == [("contoso.com", asked)]
    assert targets == [Target("192.0.2.1", asked, host="contoso.com", reference=CONTOSO)]


def test_a_resolver_is_any_object_with_the_method() -> None:
    assert isinstance(SystemResolver(), Resolver)
    assert not isinstance(object(), Resolver)
    assert SystemResolver() == SystemResolver()


# ---------------------------------------------------------------- what is not found


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "Temporary failure"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable"), "Non-recoverable"),
        # What Python makes of EAI_SYSTEM: no file descriptor is left, say.
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out"),
    ],
)
async def test_an_answer_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    system(monkeypatch, fault)
    with pytest.raises(ResolutionError, match=f"no address for 'no.example' .{said}") as caught:
        await lookup("no.example", 5061, CONTOSO)
    assert caught.value.__cause__ is fault
    assert "check the name" in str(caught.value)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", "\u00e4" * 64])
async def test_what_can_be_no_host_name_is_the_applications_fault(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host name: "):
        await lookup(host, 5061, CONTOSO)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), ResolutionError),
        (ValueError("embedded null character"), ConfigurationError),
    ],
)
async def test_a_host_in_an_error_is_printable(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, kind: type[Exception]
) -> None:
    system(monkeypatch, fault)
    with pytest.raises(kind) as caught:
        await lookup("no\n\x1b[31m\0.example", 5061, CONTOSO)
    assert str(caught.value).isprintable()


async def test_a_lookup_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", forever)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await lookup("slow.example", 5061, CONTOSO)


# ---------------------------------------------------------------- ports


@pytest.mark.parametrize("port", [1, SIPS_PORT, 65535])
def test_ports(port: int) -> None:
    assert check_port(port) == port
    assert check_port(0, lowest=0) == 0


@pytest.mark.parametrize(
    "port", [-1, 0, True, 65536, 99999, 10**30, "5061", 5061.0, None, b"\x13\xc5"]
)
def test_what_is_no_port(port: Any) -> None:
    with pytest.raises(ConfigurationError, match="a port is a number from 1 to 65535, not ") as e:
        check_port(port)
    assert repr(port) in str(e.value)


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1:5061", "[::1]", "[::1]:5061", "sip:a.example", "https://a.example"]
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ConfigurationError, match="host= is a host name or an IP address alone"):
        check_host(host)


@pytest.mark.parametrize("host", [5, b"127.0.0.1", ("127.0.0.1", 5061)])
def test_a_host_is_text(host: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"as text, not an? .*; the port is port="):
        check_host(host)


@pytest.mark.parametrize("host", [None, "a.example", "127.0.0.1", "::1", "fe80::1%lo"])
def test_hosts(host: str | None) -> None:
    check_host(host)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"address": "a.example"}, "address is an IP address"),
        ({"address": None}, "address is an IP address"),
        ({"port": "5061"}, "a port is a number"),
        ({"host": ""}, "host is the name that led to the address"),
        ({"host": 5}, "host is the name that led to the address"),
        ({"reference": "contoso.com"}, "reference is a ReferenceIdentity, not a str"),
        ({"priority": -1}, "priority is a number from 0"),
        ({"weight": True}, "weight is a number from 0"),
    ],
)
def test_what_is_no_target(wrong: Any, said: str) -> None:
    good: Any = {"address": "192.0.2.1", "port": 5061, "host": None, "reference": CONTOSO}
    assert Target(**good)
    with pytest.raises(ConfigurationError, match=said):
        Target(**{**good, **wrong})


@pytest.mark.parametrize(
    ("gave", "said"),
    [
        (None, "gave None for contoso.com: it has to give a list"),
        ([("127.0.0.1", 5061)], "gave a tuple for contoso.com: it has to give a list of Target"),
        ([], "gave no address for contoso.com; say where"),
    ],
)
async def test_what_a_resolver_must_not_give(gave: Any, said: str) -> None:
    class Resolving:
        async def resolve(self, *_: object, **__: object) -> Any:
            return gave

    with pytest.raises(ResolutionError, match=said):
        await find(Resolving(), CONTOSO)


def test_a_resolver_class_is_no_resolver() -> None:
    with pytest.raises(ConfigurationError, match=r"is a class: write SystemResolver\(\.\.\.\)"):
        check_resolver(SystemResolver)


# ---------------------------------------------------------------- a dict for a resolver

PLACES = StaticResolver(
    {
        "Contoso.com": ["192.0.2.1", ("192.0.2.2", 5071)],
        "_SIPFederationTLS._tcp.fabrikam.com": [("2001:db8::1", 5061)],
        "b\u00fccher.example": [
            Target("192.0.2.3", 5061, host="sip.example.net", reference=CONTOSO, priority=3)
        ],
        "empty.example": [],
    }
)


async def places(name: str, **options: Any) -> list[tuple[str, int, str | None]]:
    """Give where a name is, by both ways to ask, which have to agree."""
    reference = ReferenceIdentity.parse(name)
    targets = await find(PLACES, reference, **options)
    assert targets == find_blocking(PLACES, reference, **options)
    assert {target.reference for target in targets} == {reference}
    return [(target.address, target.port, target.host) for target in targets]


async def test_a_dict_gives_the_places_of_a_domain() -> None:
    assert await places("contoso.com") == [("192.0.2.1", 5061, None), ("192.0.2.2", 5071, None)]
    assert await places("contoso.com", port=1) == [("192.0.2.1", 1, None), ("192.0.2.2", 1, None)]
    assert await places("b\u00fccher.example") == [("192.0.2.3", 5061, "sip.example.net")]


async def test_a_dict_knows_services() -> None:
    service = "_sipfederationtls._tcp"
    assert await places("fabrikam.com", service=service) == [("2001:db8::1", 5061, None)]
    with pytest.raises(ResolutionError, match=r"has no fabrikam\.com") as caught:
        await places("fabrikam.com")
    assert caught.value.negative


async def test_an_expected_address_is_where_it_says() -> None:
    reference = ReferenceIdentity.for_address("192.0.2.9")
    assert [target.address for target in await find(PLACES, reference)] == ["192.0.2.9"]


@pytest.mark.parametrize("name", ["empty.example", "absent.example", "sip.contoso.com"])
async def test_what_is_not_in_the_dict_has_no_place(name: str) -> None:
    with pytest.raises(ResolutionError, match=f"has no {name}; it has ") as caught:
        await places(name)
    assert caught.value.negative


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([("contoso.com", "192.0.2.1")], "a dict from a domain to its addresses"),
        ({"contoso.com": "192.0.2.1"}, "are a list, not a str"),
        ({"contoso.com": ["sip.contoso.com"]}, "is no place: write an IP address"),
        ({"contoso.com": [("sip.contoso.com", 5061)]}, "is no place"),
        ({"contoso.com": [167772161]}, "is no place"),
        ({"contoso.com": [("192.0.2.1", 99999)]}, "a port is a number"),
        ({"192.0.2.1": ["192.0.2.1"]}, "is no domain"),
        ({5: ["192.0.2.1"]}, "a domain is a str"),
        ({"_sips._tcp": ["192.0.2.1"]}, "is no domain"),
    ],
)
def test_a_faulty_dict_is_told_when_it_is_given(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        StaticResolver(given)


# ---------------------------------------------------------------- what a resolver may answer


EVIL = ReferenceIdentity.parse("evil.example")


class Answering:
    """A resolver that gives what a test wants."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def resolve(self, *_: object, **__: object) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([], "gave no address for contoso.com"),
        (OSError("down"), "the resolver Answering failed for contoso.com: down"),
        (
            [
                Target(
                    "192.0.2.1", 5061, host=None, reference=ReferenceIdentity.parse("evil.example")
                )
            ],
            "was asked for contoso.com, and answered for evil.example",
        ),
    ],
)
async def test_an_answer_that_is_none(answer: Any, said: str) -> None:
    """Above all one that would change who is expected."""
    with pytest.raises(ResolutionError, match=said) as caught:
        await find(Answering(answer), CONTOSO)
    assert caught.value.negative is (answer == [])
    with pytest.raises(ResolutionError, match=said):
        await asyncio.to_thread(find_blocking, Answering(answer), CONTOSO)


async def test_the_system_knows_no_services() -> None:
    for ask in (find, find_blocking):
        with pytest.raises(ConfigurationError, match=r"knows no services such as '_sip._tls'"):
            await ask(SystemResolver(), CONTOSO, service="_sip._tls")  # type: ignore[misc]


async def test_a_host_and_a_service_contradict_each_other() -> None:
    for ask in (find, find_blocking):
        with pytest.raises(ConfigurationError, match="not both"):
            await ask(PLACES, CONTOSO, service="_sip._tls", host="127.0.0.1")  # type: ignore[misc]


# ---------------------------------------------------------------- order


def server(host: str | None, address: str = "192.0.2.1", **options: int) -> Target:
    return Target(address, 5061, host=host, reference=CONTOSO, **options)  # type: ignore[arg-type]


def firsts(*targets: Target) -> Counter[str | None]:
    chance = random.Random(7).random
    return Counter(in_order(targets, chance)[0].host for _ in range(10_000))


def test_lower_priorities_come_first_whatever_their_weight() -> None:
    late, soon = server("late", priority=2, weight=65535), server("soon", priority=1, weight=1)
    for number in (0.0, 0.5, 0.999999):
        assert in_order([late, soon], lambda: number) == [soon, late]  # noqa: B023


def test_within_a_priority_the_weights_are_the_chances() -> None:
    counted = firsts(server("one", weight=10), server("three", weight=30))
    assert 0.72 < counted["three"] / 10_000 < 0.78


def test_a_weight_of_0_has_a_small_chance_and_not_none() -> None:
    counted = firsts(server("most", weight=99), server("least", weight=0))
    assert 0 < counted["least"] < 300
    rare, other = server("rare", weight=0), server("other", weight=1)
    assert in_order([rare, other], lambda: 0.5) == [other, rare]
    assert in_order([other, rare], lambda: 0.49) == [rare, other]


def test_the_addresses_of_a_host_stay_together_in_their_order() -> None:
    v6, v4 = server("a", "2001:db8::1", weight=5), server("a", "192.0.2.1", weight=5)
    other = server("b", weight=5)
    chance = random.Random(7).random
    for _ in range(50):
        assert in_order([v6, other, v4], chance) in ([v6, v4, other], [other, v6, v4])


def test_without_weights_the_order_stays() -> None:
    targets = [server(None, f"192.0.2.{number}") for number in range(9, 0, -1)]
    assert in_order(targets, random.Random(7).random) == targets
    assert in_order(targets[:1], random.Random(7).random) == targets[:1]
    assert in_order([], random.Random(7).random) == []
