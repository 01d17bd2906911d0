"""Shadow in real handshakes: the current policy lets in and keeps out, the candidate is told."""

from __future__ import annotations

import pytest
from impostors import CONTOSO, FABRIKAM
from network import ENTERPRISE, OURS, client, serving
from sip import request

from siptls import (
    Decision,
    Difference,
    DifferenceKind,
    Enterprise,
    Evidence,
    RefusedByPeerError,
    Shadow,
    TrustedServers,
)

STRICT = ENTERPRISE & TrustedServers(["edge.contoso.com"])
LENIENT = ENTERPRISE | Enterprise(["fabrikam.com"], FABRIKAM.authority())


async def test_whom_the_candidate_would_refuse_is_served(tls_version: str) -> None:
    told: list[Difference] = []
    async with serving(policy=Shadow(ENTERPRISE, STRICT, told.append)) as server:
        async with client() as transport:
            connection = await transport.connect("sip:contoso.com", **server.place)
            await connection.send(request())
            assert (await connection.receive()).status == 200
    (accepted,) = server.connections
    (difference,) = told
    assert difference.kind is DifferenceKind.WOULD_REFUSE
    assert difference.candidate.code == "server.not-listed"
    assert difference.current == accepted.decision
    assert difference.evidence.leaf == OURS.chain[0]
    assert server.refusals == []


async def test_whom_the_candidate_would_accept_is_refused(tls_version: str) -> None:
    told: list[Difference] = []
    partner = FABRIKAM.issue("sip:fabrikam.com")
    async with serving(policy=Shadow(ENTERPRISE, LENIENT, told.append)) as server:
        async with client(credential=partner) as transport:
            with pytest.raises(RefusedByPeerError):
                await (await transport.connect("sip:contoso.com", **server.place)).receive()
        assert (await server.refused.get()).code == "path.unknown-ca"
    (difference,) = told
    assert difference.kind is DifferenceKind.WOULD_ACCEPT
    assert difference.gained == ("domain fabrikam.com",)
    assert server.connections == []


async def test_a_candidate_and_a_callback_that_fail_harm_no_handshake(tls_version: str) -> None:
    class Raises:
        def evaluate(self, evidence: Evidence, /) -> Decision:
            raise ZeroDivisionError

    def on_difference(difference: Difference) -> None:
        raise RuntimeError

    shadow = Shadow(ENTERPRISE, Raises(), on_difference)
    async with serving(policy=shadow) as server, client(shadow) as transport:
        connection = await transport.connect("sip:contoso.com", **server.place)
        await connection.send(request())
        assert (await connection.receive()).status == 200


async def test_a_client_may_have_a_shadow() -> None:
    told: list[Difference] = []
    shadow = Shadow(ENTERPRISE, STRICT, told.append)
    async with serving(credential=CONTOSO.issue("sip:contoso.com")) as server:
        async with client(shadow) as transport:
            connection = await transport.connect("sip:contoso.com", **server.place)
            assert connection.peer is not None
            assert connection.peer.domains == {"contoso.com"}
    (difference,) = told
    assert difference.summary.startswith("a server that presents sip:contoso.com")
    assert "where contoso.com is expected, is accepted now" in difference.summary
