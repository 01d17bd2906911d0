"""What the source document says, where no other test sees it: who listens, challenges, federates.

`docs/explanation/source-document.md` maps all of its sentences to tests, these among them.
"""

from __future__ import annotations

import pytest
from network import serving
from sip import request

from siptls import (
    ClientConnection,
    Credential,
    Enterprise,
    Federation,
    Message,
    MessageReceived,
    Partner,
    PeerAccepted,
    PeerRefused,
    RefusedByPeer,
    ServerConnection,
    TLSClientTransport,
    TrustedServers,
    TrustPolicy,
)
from siptls.testing import CertificateAuthority, connected

CONTOSO = CertificateAuthority("Contoso CA", seed="source document contoso")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="source document fabrikam")
OURS = CONTOSO.issue("sip:contoso.com", "edge.contoso.com")
THEIRS = FABRIKAM.issue("sip:fabrikam.com")
ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())


def test_who_listens_on_the_way_reads_nothing_of_what_is_said(tls_version: str) -> None:
    """All bytes that pass between the two are looked at, those of the handshake included."""
    client = ClientConnection(ENTERPRISE, "contoso.com", credential=OURS)
    server = ServerConnection(OURS, ENTERPRISE)
    overheard = b""

    def carry() -> None:
        nonlocal overheard
        while (there := client.data_to_send()) + (back := server.data_to_send()):
            overheard += there + back
            server.receive_data(there)
            client.receive_data(back)

    carry()
    # TLS 1.3 hides who shows which certificate, too; 1.2 does not (RFC 8446 §1.2).
    assert (b"edge.contoso.com" in overheard) is (tls_version == "TLSv1.2")
    said, answered = request(body=b"Please wire 1000000."), Message(request()).reply(200, "OK").data
    client.send(said)
    server.send(answered)
    carry()
    heard = [e.message.data for e in server.events() if isinstance(e, MessageReceived)]
    heard += [e.message.data for e in client.events() if isinstance(e, MessageReceived)]
    assert heard == [said, answered]
    for line in {*said.split(b"\r\n"), *answered.split(b"\r\n")} - {b""}:
        assert line not in overheard


@pytest.mark.parametrize(
    ("credential", "trusted", "speaks"),
    [
        (CONTOSO.issue("edge.contoso.com"), True, "accepted"),
        (CONTOSO.issue("phone.contoso.com"), False, "sender.not-authorized"),
        (THEIRS, False, "sender.not-authorized"),
    ],
    ids=["a-trusted-server", "a-machine-of-ours", "a-partner"],
)
async def test_what_a_trusted_server_sends_needs_no_challenge(
    credential: Credential, trusted: bool, speaks: str
) -> None:
    """The connection says so, and so does each message: here one of alice@contoso.com."""
    servers = TrustedServers(["edge.contoso.com"])
    partners = Federation([Partner(["fabrikam.com"], FABRIKAM.authority())])
    policy = ENTERPRISE & servers | ENTERPRISE | partners
    async with (
        serving(credential=OURS, policy=policy, authorize=True) as server,
        TLSClientTransport(ENTERPRISE, credential=credential) as transport,
    ):
        connection = await transport.connect("sip:contoso.com", **server.place)
        await connection.send(request())
        assert (await connection.receive()).status == 200
        (accepted,) = server.connections
        assert accepted.peer is not None
        assert accepted.peer.trusted_server is trusted
        assert accepted.peer.authorize(Message(request())).code == speaks


@pytest.mark.parametrize("we_know_them", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("they_know_us", [True, False], ids=["known-there", "unknown-there"])
def test_partners_federate_if_each_trusts_the_others_ca(
    we_know_them: bool, they_know_us: bool
) -> None:
    """Each has a CA of its own. That one of them trusts is not enough, whichever it is."""

    def edge(domain: str, own: CertificateAuthority, partner: CertificateAuthority) -> TrustPolicy:
        other = "fabrikam.com" if domain == "contoso.com" else "contoso.com"
        ours = Enterprise([domain], own.authority())
        return ours | Federation([Partner([other], partner.authority())])

    nobody = CertificateAuthority("Woodgrove CA", seed="source document woodgrove")
    here = edge("contoso.com", CONTOSO, FABRIKAM if we_know_them else nobody)
    there = edge("fabrikam.com", FABRIKAM, CONTOSO if they_know_us else nobody)
    client, server = connected(
        ClientConnection(here, "fabrikam.com", credential=OURS), ServerConnection(THEIRS, there)
    )
    kinds = {type(event) for event in (*client.events(), *server.events())}
    if we_know_them and they_know_us:
        assert kinds == {PeerAccepted}
    else:
        assert kinds & {PeerRefused, RefusedByPeer}
        assert client.closed is not None
        assert server.closed is not None
