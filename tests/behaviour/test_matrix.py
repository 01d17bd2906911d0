"""The matrix: every kind of fault, in a server and in a client, in a policy and in a handshake.

Each cell gives exactly the documented code (`docs/reference/reason-codes.md` has the table).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest
from attrs import frozen
from OpenSSL import SSL

from siptls import (
    Blocked,
    ClientConnection,
    Credential,
    Decision,
    Enterprise,
    Evidence,
    Federation,
    Partner,
    PeerRefused,
    ReferenceIdentity,
    Role,
    ServerConnection,
    TrustedServers,
)
from siptls.testing import CertificateAuthority, connected, evidence
from siptls.wire import tls

SEED = "matrix"
CONTOSO = CertificateAuthority("Contoso CA", seed=SEED)
FABRIKAM = CertificateAuthority("Fabrikam CA", seed=SEED)
STRANGER = CertificateAuthority("Stranger CA", seed=SEED)
LIMITED = CONTOSO.intermediate("Contoso Lab CA", permitted=["lab.contoso.com"])

OURS = CONTOSO.issue("sip:sip.contoso.com", "sip:contoso.com")
POLICY = (
    Enterprise(["contoso.com"], CONTOSO.authority())
    & TrustedServers(["sip.contoso.com", "contoso.com", "edge.contoso.com"])
    | Federation([Partner(["fabrikam.com"], FABRIKAM.authority())])
) & Blocked(["evil.fabrikam.com", "old.contoso.com"])
MAIL = "1.3.6.1.5.5.7.3.4"


def _days(number: int) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=number)


@frozen
class Row:
    """A peer, as server and as client.

    Attributes:
        what: Its row in the documented table.
        server: The code if it is a server, of which ``expected`` is expected.
        client: The code if it is a client.
        show: Gives what it shows; None if it shows no certificate.
        expected: Whom we expect of a server.
    """

    what: str
    server: str
    client: str
    show: Callable[[], Credential] | None
    expected: str = "sip.contoso.com"

    def code(self, role: Role) -> str:
        return self.server if role is Role.SERVER else self.client


NAME = "sip:sip.contoso.com"
ROWS = [
    Row("trusted", "accepted", "accepted", lambda: CONTOSO.issue(NAME)),
    Row(
        "a partner",
        "accepted",
        "accepted",
        lambda: FABRIKAM.issue("sip:fabrikam.com"),
        expected="fabrikam.com",
    ),
    Row("another authority", "path.unknown-ca", "path.unknown-ca", lambda: STRANGER.issue(NAME)),
    Row(
        "a partner's CA with our name",
        "name.out-of-scope",
        "name.out-of-scope",
        lambda: FABRIKAM.issue(NAME),
    ),
    Row(
        "another name of ours",
        "name.mismatch",
        "accepted",
        lambda: CONTOSO.issue("sip:edge.contoso.com"),
    ),
    Row(
        "a name that is not ours",
        "name.out-of-scope",
        "name.out-of-scope",
        lambda: CONTOSO.issue("sip:sip.woodgrove.com"),
    ),
    Row("a parent's name", "name.mismatch", "accepted", lambda: CONTOSO.issue("sip:contoso.com")),
    Row("a wildcard", "name.none", "name.none", lambda: CONTOSO.issue("*.contoso.com")),
    Row(
        "expired",
        "path.expired",
        "path.expired",
        lambda: CONTOSO.issue(NAME, not_after=_days(-1)),
    ),
    Row(
        "not yet valid",
        "path.not-yet-valid",
        "path.not-yet-valid",
        lambda: CONTOSO.issue(NAME, not_before=_days(1)),
    ),
    Row(
        "a weak key",
        "path.weak-key",
        "path.weak-key",
        # An RSA key cannot come from a seed: the same CA once more, without one.
        lambda: CertificateAuthority("Contoso CA", key=CONTOSO.key).issue(NAME, key="RSA-1024"),
    ),
    Row(
        "a wrong purpose",
        "purpose.unacceptable",
        "purpose.unacceptable",
        lambda: CONTOSO.issue(NAME, purposes=[MAIL]),
    ),
    Row("no certificate", "certificate.missing", "certificate.missing", None),
    Row(
        "a constraint violated",
        "path.constraint",
        "path.constraint",
        lambda: LIMITED.issue(NAME),
    ),
    Row(
        "not on the list",
        "server.not-listed",
        "server.not-listed",
        lambda: CONTOSO.issue("sip:lab.contoso.com"),
        expected="lab.contoso.com",
    ),
    Row(
        "blocked",
        "partner.blocked",
        "partner.blocked",
        lambda: FABRIKAM.issue("sip:evil.fabrikam.com"),
        expected="evil.fabrikam.com",
    ),
]
CELLS = [
    pytest.param(row, role, id=f"{row.what}-{role}".replace(" ", "-"))
    for row in ROWS
    for role in Role
]


@pytest.mark.parametrize(("row", "role"), CELLS)
def test_a_policy_gives_the_documented_code(row: Row, role: Role) -> None:
    reference = ReferenceIdentity.parse(row.expected) if role is Role.SERVER else None
    if row.show is None:
        shown = Evidence([], role, now=dt.datetime.now(dt.UTC), reference=reference)
    else:
        shown = evidence(row.show(), role, reference)
    assert POLICY.evaluate(shown).code == row.code(role)


@pytest.fixture
def weak_peers(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let OpenSSL take weak keys of our own, for the peer that is to be refused."""
    ours = tls.CIPHERS

    def switch(weak: bool) -> None:
        monkeypatch.setattr(tls, "CIPHERS", ours + b":@SECLEVEL=0" if weak else ours)

    monkeypatch.setattr(tls, "_contexts", WeakKeyDictionary())
    return switch


@pytest.mark.parametrize(("row", "role"), CELLS)
def test_a_handshake_gives_the_documented_code(
    row: Row, role: Role, tls_version: str, weak_peers: Callable[[bool], None]
) -> None:
    if row.show is None and role is Role.SERVER:
        return  # TLS has no server without a certificate: see the test below
    weak_peers(True)
    shown = None if row.show is None else row.show()
    judge: ClientConnection | ServerConnection
    if role is Role.SERVER:
        assert shown is not None
        peer = ServerConnection(shown, None, mutual=False)
        weak_peers(False)
        judge = ClientConnection(POLICY, row.expected)
        connected(judge, peer)
    else:
        client = ClientConnection(
            Enterprise(["contoso.com"], CONTOSO.authority()), "sip.contoso.com", credential=shown
        )
        weak_peers(False)
        judge = ServerConnection(OURS, POLICY)
        connected(client, judge)
    decision = judge.decision
    assert decision is not None
    assert decision.code == row.code(role)
    assert (judge.peer is not None) is decision.accepted
    refusals = [event.decision for event in judge.events() if isinstance(event, PeerRefused)]
    assert refusals == ([] if decision.accepted else [decision])


def test_a_server_without_a_certificate_gets_no_connection() -> None:
    """OpenSSL has no cipher for it; that nothing was shown never reaches the policy as accepted."""
    context = SSL.Context(SSL.TLS_METHOD)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = ClientConnection(POLICY, "sip.contoso.com")
    server.bio_write(client.data_to_send())
    with pytest.raises(SSL.Error):
        server.do_handshake()
    client.receive_data(server.bio_read(65536))
    assert client.closed is not None
    assert client.peer is None


def test_the_table_in_the_docs_is_this_one() -> None:
    docs = Path(__file__).parents[2] / "docs" / "reference" / "reason-codes.md"
    lines = docs.read_text(encoding="utf-8").splitlines()
    for row in ROWS:
        assert f"| {row.what} | `{row.server}` | `{row.client}` |" in lines


def test_a_refusal_in_a_handshake_explains_itself() -> None:
    client = ClientConnection(POLICY, "sip.contoso.com")
    connected(client, ServerConnection(FABRIKAM.issue(NAME), None, mutual=False))
    decision = client.decision
    assert isinstance(decision, Decision)
    text = decision.explain()
    for words in ("refused: name.out-of-scope", "CN=sip.contoso.com", "found", "expected", "to do"):
        assert words in text
