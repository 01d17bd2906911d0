"""From a domain to its servers by NAPTR and SRV: a real dnsmasq, and servers that misbehave."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from dns_server import dnsmasq, saying

from siptls import ConfigurationError, DNSResolver, ReferenceIdentity, ResolutionError, Resolver
from siptls.transports import resolution

RECORDS = [
    "--host-record=a.test,192.0.2.1,2001:db8::1",
    "--host-record=b.test,192.0.2.2",
    "--host-record=srv.test,192.0.2.9",
    "--host-record=plain.test,192.0.2.3",
    "--cname=alias.test,a.test",
    "--srv-host=_sips._tcp.srv.test,a.test,5071,1,0",
    "--srv-host=_sips._tcp.srv.test,b.test,5072,2,0",
    "--srv-host=_sips._tcp.alias-srv.test,Alias.test,5061,9,0",
    "--srv-host=_sipfederationtls._tcp.srv.test,b.test,5066,0,0",
    "--naptr-record=naptr.test,20,1,s,SIPS+D2T,,_sips._tcp.srv.test",
    "--naptr-record=naptr.test,10,10,S,sips+d2t,,_sips._tcp.alias-srv.test",
    "--naptr-record=naptr.test,5,10,s,SIP+D2U,,_sip._udp.srv.test",
    "--host-record=none.test,192.0.2.4",
    "--srv-host=_sips._tcp.none.test",
    "--txt-record=text.test,no address",
    "--srv-host=_sips._tcp.lost.test,text.test,5061,0,0",
]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with dnsmasq(*RECORDS) as port:
        yield port


@pytest.fixture
def resolver(port: int) -> DNSResolver:
    return DNSResolver(nameservers=["127.0.0.1"], port=port)


async def found(resolver: DNSResolver, domain: str, **options: Any) -> list[tuple[Any, ...]]:
    reference = ReferenceIdentity.parse(domain)
    targets = await resolver.resolve(reference, **options)
    assert all(target.reference is reference for target in targets)
    return [(target.address, target.port, target.host) for target in targets]


async def fails(resolver: DNSResolver, domain: str, *, negative: bool, **options: Any) -> str:
    with pytest.raises(ResolutionError) as caught:
        await resolver.resolve(ReferenceIdentity.parse(domain), **options)
    assert caught.value.negative is negative
    assert str(caught.value).isprintable()
    return str(caught.value)


A = [("2001:db8::1", 5061, "a.test"), ("192.0.2.1", 5061, "a.test")]
SRV = [
    ("2001:db8::1", 5071, "a.test"),
    ("192.0.2.1", 5071, "a.test"),
    ("192.0.2.2", 5072, "b.test"),
]


# ---------------------------------------------------------------- a real server


async def test_srv_in_the_order_of_its_priorities(resolver: DNSResolver) -> None:
    assert await found(resolver, "srv.test") == SRV
    assert isinstance(resolver, Resolver)


async def test_naptr_chooses_the_srv_names_by_its_order(resolver: DNSResolver) -> None:
    """And a host keeps the name that SRV gives it, whatever it is an alias of."""
    alias = [("2001:db8::1", 5061, "alias.test"), ("192.0.2.1", 5061, "alias.test")]
    assert await found(resolver, "naptr.test") == alias + SRV


async def test_without_srv_the_domain_itself_is_asked(resolver: DNSResolver) -> None:
    assert await found(resolver, "plain.test") == [("192.0.2.3", 5061, "plain.test")]
    assert await found(resolver, "A.test") == A


async def test_a_port_leaves_srv_out(resolver: DNSResolver) -> None:
    assert await found(resolver, "srv.test", port=5099) == [("192.0.2.9", 5099, "srv.test")]


@pytest.mark.parametrize(("given", "expected"), [(None, 5066), (5099, 5099)])
async def test_a_service_is_its_srv_records_only(
    resolver: DNSResolver, given: int | None, expected: int
) -> None:
    service = "_SipFederationTLS._tcp"
    targets = await found(resolver, "srv.test", service=service, port=given)
    assert targets == [("192.0.2.2", expected, "b.test")]
    assert "offers no such service" in await fails(
        resolver, "plain.test", service=service, negative=True
    )


async def test_a_service_that_is_decidedly_not_available(
    resolver: DNSResolver, caplog: pytest.LogCaptureFixture
) -> None:
    assert "not available" in await fails(resolver, "none.test", negative=True)
    assert not caplog.records


@pytest.mark.parametrize("domain", ["nobody.test", "text.test", "lost.test"])
async def test_what_has_no_address(resolver: DNSResolver, domain: str) -> None:
    assert "no address" in await fails(resolver, domain, negative=True)


async def test_refused_is_no_negative_answer(resolver: DNSResolver) -> None:
    said = await fails(resolver, "elsewhere.example", negative=False)
    assert "SRV _sips._tcp.elsewhere.example" in said
    assert "REFUSED" in said
    await fails(resolver, "elsewhere.example", port=5061, negative=False)


async def test_a_name_that_dns_cannot_hold_has_no_srv(resolver: DNSResolver) -> None:
    long = ".".join(["a" * 61] * 4)
    await fails(resolver, f"{long}.test", service="_sip._tls", negative=True)


def test_each_event_loop_may_use_the_same_resolver(resolver: DNSResolver) -> None:
    for _ in range(2):
        assert asyncio.run(found(resolver, "srv.test")) == SRV


async def test_of_an_address_nothing_is_asked() -> None:
    reference = ReferenceIdentity.for_address("192.0.2.7")
    resolver = DNSResolver(nameservers=["127.0.0.1"], port=9)
    for port, expected in ((None, 5061), (5062, 5062)):
        [target] = await resolver.resolve(reference, port=port)
        assert (target.address, target.port, target.host) == ("192.0.2.7", expected, None)
        assert target.reference is reference


# ---------------------------------------------------------------- answers that fail


@pytest.mark.parametrize("failure", ["SERVFAIL", "REFUSED", "YXDOMAIN", None])
async def test_a_failed_naptr_is_logged_and_srv_is_used(
    failure: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    answers: dict[str, Any] = {"x.test NAPTR": failure}
    answers |= {"_sips._tcp.x.test SRV": ["1 1 5061 h.test."], "h.test A": ["192.0.2.1"]}
    with caplog.at_level(logging.INFO, "siptls"):
        async with saying(answers, timeout=0.3) as (_, resolver):
            assert await found(resolver, "x.test") == [("192.0.2.1", 5061, "h.test")]
    assert "no answer from DNS for x.test NAPTR" in caplog.text


async def test_without_naptr_nobody_knows_that_a_domain_has_nothing() -> None:
    """It might be reached by an SRV name that only its NAPTR record says."""
    async with saying({"x.test NAPTR": "SERVFAIL"}) as (_, resolver):
        assert "NAPTR x.test" in await fails(resolver, "x.test", negative=False)


@pytest.mark.parametrize("failure", ["SERVFAIL", None])
async def test_a_failed_srv_is_no_reason_to_ask_the_domain(failure: str | None) -> None:
    answers: dict[str, Any] = {"_sips._tcp.x.test SRV": failure, "x.test A": ["192.0.2.1"]}
    async with saying(answers, timeout=0.3) as (server, resolver):
        await fails(resolver, "x.test", negative=False)
        assert server.asked["x.test A"] == 0


async def test_one_failed_srv_of_two_does_no_harm() -> None:
    naptr = ['1 1 "s" "SIPS+D2T" "" _a.x.test.', '2 1 "s" "SIPS+D2T" "" _b.x.test.']
    answers: dict[str, Any] = {"x.test NAPTR": naptr, "_a.x.test SRV": "SERVFAIL"}
    answers |= {"_b.x.test SRV": ["1 1 5061 h.test."], "h.test A": ["192.0.2.1"]}
    async with saying(answers) as (_, resolver):
        assert await found(resolver, "x.test") == [("192.0.2.1", 5061, "h.test")]


async def test_naptr_records_are_followed_only_so_far() -> None:
    naptr = [f'{n} 1 "s" "SIPS+D2T" "" _{n}.x.test.' for n in range(9)]
    naptr += ['0 0 "s" "SIPS+D2T" "" .', '0 0 "u" "SIPS+D2T" "!x!y!" _u.x.test.']
    async with saying({"x.test NAPTR": naptr, "x.test A": ["192.0.2.1"]}) as (server, resolver):
        assert await found(resolver, "x.test") == [("192.0.2.1", 5061, "x.test")]
        asked = {key for key in server.asked if key.endswith("SRV")}
        assert asked == {"_sips._tcp.x.test SRV"} | {f"_{n}.x.test SRV" for n in range(4)}


@pytest.mark.parametrize(("other", "negative"), [({}, True), ({"h.test AAAA": "SERVFAIL"}, False)])
async def test_an_address_that_failed_is_not_one_that_is_missing(
    other: dict[str, Any], negative: bool
) -> None:
    answers = {"_sips._tcp.x.test SRV": ["1 1 5061 h.test."], **other}
    async with saying(answers) as (_, resolver):
        await fails(resolver, "x.test", negative=negative)


async def test_names_that_are_none_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    bad = ["1 1 5061 192.0.2.1.", "1 1 5061 bad\\010\\027name.test.", "1 1 0 h.test."]
    answers: dict[str, Any] = {"_sips._tcp.x.test SRV": bad, "h.test A": ["192.0.2.1"]}
    async with saying(answers, ttl=0) as (server, resolver):
        assert "operator has to mend" in await fails(resolver, "x.test", negative=False)
        bad.append("9 1 5061 H.test.")
        assert await found(resolver, "x.test") == [("192.0.2.1", 5061, "h.test")]
        assert server.asked["h.test A"] == 1
    assert caplog.text.count("is skipped") == 6
    assert all(record.getMessage().isprintable() for record in caplog.records)


async def test_the_number_of_targets_has_a_limit() -> None:
    srv = [f"{n} 1 5061 h{n}.test." for n in range(40)]
    answers: dict[str, Any] = {f"h{n}.test A": ["192.0.2.1", "192.0.2.2"] for n in range(40)}
    answers["_sips._tcp.x.test SRV"] = srv
    async with saying(answers, max_targets=5) as (server, resolver):
        targets = await found(resolver, "x.test")
        assert [host for *_, host in targets] == ["h0.test"] * 2 + ["h1.test"] * 2 + ["h2.test"]
        assert server.asked["h5.test A"] == 0


async def test_what_is_too_much_is_not_asked_for_and_not_kept() -> None:
    """A domain's owner says how much there is; we say how much of it is of use."""
    many = [f"192.0.2.{number}" for number in range(1, 101)]
    answers: dict[str, Any] = {
        "_sips._tcp.x.test SRV": [f"{n} 0 5061 h{n}.test." for n in range(12)],
        **{f"h{n}.test A": many for n in range(12)},
    }
    async with saying(answers) as (server, resolver):
        for _ in range(2):
            assert len(await resolver.resolve(ReferenceIdentity.parse("x.test"))) == 32
        assert {n for n in range(12) if server.asked[f"h{n}.test A"]} == {0, 1, 2, 3}
        assert server.asked["h0.test A"] == 2, "it is not kept"
        assert server.asked["_sips._tcp.x.test SRV"] == 1


async def test_a_time_to_live_is_a_day_at_most() -> None:
    answers: dict[str, Any] = {"x.test A": ["192.0.2.1"]}
    async with saying(answers, ttl=2**31 - 1) as (_, resolver):
        await found(resolver, "x.test")
        kept: Any = resolver._stub.cache
        ends = [node.value.expiration for node in kept.data.values()]
        assert max(ends) - time.time() <= 86400


async def test_weights_are_chances() -> None:
    answers: dict[str, Any] = {"a.test A": ["192.0.2.1"], "b.test A": ["192.0.2.2"]}
    answers["_sips._tcp.x.test SRV"] = ["1 0 5061 a.test.", "1 10 5061 b.test."]
    number = 0.0
    async with saying(answers, random=lambda: number, ttl=0) as (_, resolver):
        for number, first in [(0.0, "a.test"), (0.99, "b.test")] * 8:  # noqa: B007
            assert (await found(resolver, "x.test"))[0][2] == first


# ---------------------------------------------------------------- DNSSEC

SIGNED: dict[str, Any] = {
    "x.test NAPTR": ['1 1 "s" "SIPS+D2T" "" _s.x.test.'],
    "_s.x.test SRV": ["1 1 5061 h.test."],
    "h.test A": ["192.0.2.1"],
}


@pytest.mark.parametrize(
    ("ad", "bare", "expected"),
    [
        (True, (), True),
        (True, ("h.test AAAA",), True),  # of that answer nothing was used
        (False, (), False),
        *[(True, (key,), False) for key in SIGNED],
    ],
)
async def test_authenticated_is_each_answer_on_the_way(
    ad: bool, bare: tuple[str, ...], expected: bool
) -> None:
    async with saying(SIGNED, ad=ad, bare=bare) as (_, resolver):
        for _ in range(2):  # from the cache, too
            [target] = await resolver.resolve(ReferenceIdentity.parse("x.test"))
            assert target.authenticated is expected


@pytest.mark.parametrize("bare", ["", "x.test NAPTR", "_sips._tcp.x.test SRV", "x.test A"])
async def test_authenticated_counts_what_is_said_not_to_exist(bare: str) -> None:
    answers: dict[str, Any] = {"x.test NAPTR": [], "x.test A": ["192.0.2.1"]}
    async with saying(answers, ad=True, bare=(bare,)) as (_, resolver):
        [target] = await resolver.resolve(ReferenceIdentity.parse("x.test"))
        assert target.authenticated is not bool(bare)


# ---------------------------------------------------------------- the cache


async def test_answers_are_kept_and_negative_ones_too() -> None:
    answers: dict[str, Any] = {"x.test A": ["192.0.2.1"], "x.test AAAA": []}
    async with saying(answers) as (server, resolver):
        for _ in range(3):
            assert await found(resolver, "x.test") == [("192.0.2.1", 5061, "x.test")]
        assert server.asked["x.test A"] == server.asked["x.test AAAA"] == 1
        assert server.asked["_sips._tcp.x.test SRV"] == 1


@pytest.mark.parametrize("options", [{"ttl": 0}, {"cache_size": 1}])
async def test_answers_are_kept_no_longer_than_their_time_and_place(
    options: dict[str, int],
) -> None:
    answers: dict[str, Any] = {"x.test A": ["192.0.2.1"], "y.test A": ["192.0.2.2"]}
    async with saying(answers, **options) as (server, resolver):
        for domain in ("x.test", "y.test", "x.test"):
            await found(resolver, domain, port=5061)
        assert server.asked["x.test A"] == 2


async def test_a_failure_is_not_kept() -> None:
    answers: dict[str, Any] = {"x.test A": "SERVFAIL"}
    async with saying(answers) as (_, resolver):
        await fails(resolver, "x.test", port=5061, negative=False)
        answers["x.test A"] = ["192.0.2.1"]
        assert len(await found(resolver, "x.test", port=5061)) == 1


async def test_a_cancelled_question_leaves_nothing_behind() -> None:
    """No task and no socket: a ResourceWarning would fail it, and so would a task."""
    silent: dict[str, Any] = {"x.test NAPTR": None, "_sips._tcp.x.test SRV": None}
    async with saying(silent) as (server, resolver):
        task = asyncio.create_task(found(resolver, "x.test"))
        await server.first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nameservers": "192.0.2.1"}, "nameservers are a list"),
        ({"nameservers": 5}, "nameservers are a list"),
        ({"nameservers": []}, "nameservers are empty"),
        ({"nameservers": ["dns.example"]}, "a nameserver is an IP address"),
        ({"port": 0}, "a port is a number from 1"),
        ({"port": 70000}, "a port is a number"),
        ({"timeout": 0}, "timeout is in seconds"),
        ({"timeout": float("nan")}, "timeout is in seconds"),
        ({"timeout": "5"}, "timeout is in seconds"),
        ({"cache_size": 0}, "cache_size is a whole number"),
        ({"max_targets": True}, "max_targets is a whole number"),
        ({"random": 4}, "random= is a plain function"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        DNSResolver(**{"nameservers": ["127.0.0.1"], **options})


@pytest.mark.parametrize(
    "service", ["", "sips", "_sips", "_sips._tcp.x", "sips._tcp", "_a b._tcp", "_s\n._tcp", 5]
)
async def test_what_is_no_service(service: Any) -> None:
    resolver = DNSResolver(nameservers=["127.0.0.1"])
    with pytest.raises(ConfigurationError, match="a service is ") as caught:
        await resolver.resolve(ReferenceIdentity.parse("x.test"), service=service)
    assert str(caught.value).isprintable()


async def test_other_arguments() -> None:
    resolver = DNSResolver(nameservers=["127.0.0.1"])
    with pytest.raises(ConfigurationError, match="reference is a ReferenceIdentity"):
        await resolver.resolve("x.test")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a port is a number"):
        await resolver.resolve(ReferenceIdentity.parse("x.test"), port=-1)
    with pytest.raises(ConfigurationError, match="is no domain"):
        await resolver.resolve(ReferenceIdentity("a..b"))


def test_without_dnspython_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
    with pytest.raises(ConfigurationError, match=r"needs dnspython: pip install 'siptls\[dns\]'"):
        DNSResolver()


def test_without_nameservers_those_of_the_system_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dns.resolver import BaseResolver, NoResolverConfiguration  # noqa: PLC0415

    def read(stub: BaseResolver, _: object) -> None:
        stub.nameservers = ["192.0.2.53", "192.0.2.54"]

    monkeypatch.setattr(BaseResolver, "read_resolv_conf", read)
    resolver = DNSResolver(timeout=1.0)
    assert resolver.nameservers is None
    assert list(resolver._stub.nameservers) == ["192.0.2.53", "192.0.2.54"]
    assert resolver._stub.timeout == 0.5

    def read_none(stub: BaseResolver, _: object) -> None:
        raise NoResolverConfiguration("no nameservers")

    monkeypatch.setattr(BaseResolver, "read_resolv_conf", read_none)
    with pytest.raises(ConfigurationError, match="names no nameserver to ask"):
        DNSResolver()


async def test_it_is_asked_as_any_resolver(resolver: DNSResolver) -> None:
    targets = await resolution.find(resolver, ReferenceIdentity.parse("srv.test"))
    assert len(targets) == 3
