"""A hostile DNS: it sends us to an attacker, who has a good certificate for a name of his own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from network import Server, serving
from sip import request

from siptls import (
    AnyDomain,
    DNSTrust,
    Enterprise,
    NameRules,
    PeerRefusedError,
    ReferenceIdentity,
    StaticResolver,
    Target,
    TLSClientTransport,
    sync,
)
from siptls.testing import CertificateAuthority

CA = CertificateAuthority("Public CA", seed="hostile DNS")
OURS = CA.issue("sip:contoso.com")
POLICY = AnyDomain(CA.authority(), names=NameRules.OCS)
ANY = ReferenceIdentity.parse("example.com")
# The attacker's certificate, and the host that DNS names for contoso.com: an SRV target in another
# domain, and the end of a CNAME that goes by a host of ours, which is no name that DNS gives.
ATTACKS = {
    "srv": ("sip.evil.example", "sip.evil.example"),
    "cname": ("sip.evil.example", "sip.contoso.com"),
    "suffix": ("sip.evilcontoso.com", "sip.evilcontoso.com"),
    "parent": ("com.example", "com.example"),
}


@asynccontextmanager
async def sent_to(host: str, *names: str) -> AsyncIterator[tuple[Server, StaticResolver]]:
    """Give a server with these names, and a DNS that says that contoso.com is there."""
    policy = AnyDomain(CA.authority())
    async with serving(credential=CA.issue(*names), policy=policy) as server:
        address, port = server.transport.addresses[0]
        yield (
            server,
            StaticResolver({"contoso.com": [Target(address, port, host=host, reference=ANY)]}),
        )


@pytest.mark.parametrize("dns_trust", [DNSTrust.UNTRUSTED, DNSTrust.STRICT])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_attacker_is_refused_and_the_names_are_told(
    attack: str, dns_trust: DNSTrust
) -> None:
    shown, host = ATTACKS[attack]
    async with sent_to(host, shown) as (server, resolver):
        transport = TLSClientTransport(
            POLICY, credential=OURS, resolver=resolver, dns_trust=dns_trust
        )
        async with transport:
            with pytest.raises(PeerRefusedError) as caught:
                await transport.connect("sip:alice@contoso.com")
        blocking = sync.TLSClientTransport(
            POLICY, credential=OURS, resolver=resolver, dns_trust=dns_trust
        )
        with blocking, pytest.raises(PeerRefusedError) as blocked:
            await asyncio.to_thread(blocking.connect, "sip:alice@contoso.com")
        assert server.connections == []
    for error in (caught.value, blocked.value):
        assert error.decision.code == "name.mismatch"
        assert "contoso.com" in str(error)
        assert shown in str(error)
        assert [attempt.host for attempt in error.attempts] == [host]


@pytest.mark.parametrize(
    ("dns_trust", "host", "accepted"),
    [
        (DNSTrust.UNTRUSTED, "sip.contoso.com", False),
        (DNSTrust.STRICT, "sip.contoso.com", True),
        (DNSTrust.STRICT, "sip.hoster.example", False),
        (DNSTrust.TRUSTED, "sip.hoster.example", True),
    ],
)
async def test_a_host_is_expected_as_far_as_dns_is_trusted(
    dns_trust: DNSTrust, host: str, accepted: bool
) -> None:
    async with sent_to(host, host) as (_, resolver):
        transport = TLSClientTransport(
            POLICY, credential=OURS, resolver=resolver, dns_trust=dns_trust
        )
        async with transport:
            if not accepted:
                with pytest.raises(PeerRefusedError):
                    await transport.connect("contoso.com")
                return
            connection = await transport.connect("contoso.com")
            await connection.send(request())
            assert (await connection.receive()).status == 200
            assert connection.reference == ReferenceIdentity.parse("contoso.com", host=host)


async def test_dns_is_not_believed_outside_the_scope_of_the_authority() -> None:
    """DNS says who is expected, and the enterprise's own list says who may be believed."""
    policy = Enterprise(["contoso.com"], CA.authority(), names=NameRules.OCS)
    async with sent_to("sip.evil.example", "sip.evil.example") as (_, resolver):
        transport = TLSClientTransport(
            policy, credential=OURS, resolver=resolver, dns_trust=DNSTrust.TRUSTED
        )
        async with transport:
            with pytest.raises(PeerRefusedError) as caught:
                await transport.connect("contoso.com")
            assert caught.value.decision.code == "name.out-of-scope"


async def test_where_the_application_says_is_no_word_of_dns() -> None:
    """``host=`` says where, never whom, however DNS is trusted."""
    async with sent_to("localhost", "localhost") as (server, _):
        transport = TLSClientTransport(POLICY, credential=OURS, dns_trust=DNSTrust.TRUSTED)
        async with transport:
            with pytest.raises(PeerRefusedError) as caught:
                await transport.connect("contoso.com", host="localhost", port=server.place["port"])
            assert caught.value.decision.code == "name.mismatch"


async def test_the_name_that_is_asked_for_in_the_handshake_is_the_domain() -> None:
    """SNI is the reference identity, whatever host DNS has named."""
    asked: list[str | None] = []
    async with sent_to("sip.contoso.com", "sip:contoso.com") as (server, resolver):
        transport = TLSClientTransport(
            POLICY, credential=OURS, resolver=resolver, dns_trust=DNSTrust.TRUSTED
        )
        async with transport:
            await transport.connect("contoso.com")
        asked += [c.tls.server_name for c in server.connections if c.tls is not None]
    assert asked == ["contoso.com"]
