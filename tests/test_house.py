"""The house: who may import whom, what is public, and that the pure core is pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import siptls

SOURCE = Path(siptls.__file__).parent

# Each module may import those above it, and no other. So there are no circles, and whoever reads
# the files in this order never meets a name that he does not know.
ORDER = [
    "siptls.journal",
    "siptls.errors",
    "siptls.arguments",
    "siptls.pem",
    "siptls.keylog",
    "siptls.metrics",
    "siptls.trust",
    "siptls.trust.names",
    "siptls.trust.presented",
    "siptls.trust.dnstrust",
    "siptls.trust.rules",
    "siptls.trust.codes",
    "siptls.trust.fault",
    "siptls.trust.account",
    "siptls.trust.senders",
    "siptls.trust.evidence",
    "siptls.trust.purposes",
    "siptls.trust.profile",
    "siptls.trust.constraints",
    "siptls.trust.status",
    "siptls.trust.diagnosis",
    "siptls.trust.crl",
    "siptls.trust.ocsp",
    "siptls.trust.revocation",
    "siptls.trust.believed",
    "siptls.trust.authorization",
    "siptls.trust.plain",
    "siptls.trust.decision",
    "siptls.trust.refusal",
    "siptls.trust.authority",
    "siptls.trust.policy",
    "siptls.trust.comparison",
    "siptls.trust.shadow",
    "siptls.trust.scope",
    "siptls.trust.blocked",
    "siptls.trust.enterprise",
    "siptls.trust.discovery",
    "siptls.trust.federation",
    "siptls.trust.public",
    "siptls.trust.pins",
    "siptls.trust.endings",
    "siptls.trust.trustmap",
    "siptls.trust.findings",
    "siptls.trust.upkeep",
    "siptls.trust.overlaps",
    "siptls.trust.exhibits",
    "siptls.policytables",
    "siptls.policyreading",
    "siptls.policywriting",
    "siptls.policyfile",
    "siptls.exchange",
    "siptls.fetched",
    "siptls.fetching",
    "siptls.wire",
    "siptls.wire.limits",
    "siptls.wire.message",
    "siptls.wire.framing",
    "siptls.wire.credential",
    "siptls.wire.hello",
    "siptls.wire.memory",
    "siptls.wire.verdict",
    "siptls.wire.resumption",
    "siptls.wire.tls",
    "siptls.wire.measures",
    "siptls.wire.telling",
    "siptls.wire.report",
    "siptls.wire.traffic",
    "siptls.wire.sslobjects",
    "siptls.wire.sslcontext",
    "siptls.wire.events",
    "siptls.wire.inforce",
    "siptls.wire.deadlines",
    "siptls.wire.gate",
    "siptls.wire.link",
    "siptls.wire.connection",
    "siptls.transports",
    "siptls.transports.resolution",
    "siptls.transports.dns",
    "siptls.transports.attempts",
    "siptls.transports.racing",
    "siptls.transports.listening",
    "siptls.transports.crowd",
    "siptls.transports.sockets",
    "siptls.transports.known",
    "siptls.transports.reuse",
    "siptls.transports.openings",
    "siptls.transports.outgoing",
    "siptls.transports.supervision",
    "siptls.transports.service",
    "siptls.transports.admission",
    "siptls.transports.federating",
    "siptls.transports.blocking",
    "siptls.transports.blocking.timeouts",
    "siptls.transports.blocking.stopping",
    "siptls.transports.blocking.connection",
    "siptls.transports.blocking.racing",
    "siptls.transports.blocking.keeping",
    "siptls.transports.blocking.client",
    "siptls.transports.blocking.server",
    "siptls.transports.aio",
    "siptls.transports.aio.closing",
    "siptls.transports.aio.door",
    "siptls.transports.aio.turns",
    "siptls.transports.aio.waiting",
    "siptls.transports.aio.driver",
    "siptls.transports.aio.connection",
    "siptls.transports.aio.racing",
    "siptls.transports.aio.judging",
    "siptls.transports.aio.keeping",
    "siptls.transports.aio.client",
    "siptls.transports.aio.server",
    "siptls.watched",
    "siptls.watching",
    "siptls",
    "siptls.sync",
    "siptls.testing.statements",
    "siptls.testing.pki",
    "siptls.testing.expectations",
    "siptls.testing.plugin",
    "siptls.testing.pairs",
    "siptls.testing",
    "siptls.cli.exits",
    "siptls.cli.options",
    "siptls.cli.facts",
    "siptls.cli.judged",
    "siptls.cli.examination",
    "siptls.cli.inquiry",
    "siptls.cli.visiting",
    "siptls.cli.conclusion",
    "siptls.cli.printout",
    "siptls.cli.check",
    "siptls.cli.chainfile",
    "siptls.cli.explain",
    "siptls.cli.policyfolder",
    "siptls.cli.policyreport",
    "siptls.cli.mapboxes",
    "siptls.cli.mapmermaid",
    "siptls.cli.mapsvg",
    "siptls.cli.lint",
    "siptls.cli.map",
    "siptls.cli.folder",
    "siptls.cli.laboratory",
    "siptls.cli.pki",
    "siptls.cli.commands",
    "siptls.cli",
    "siptls.__main__",
]
# The wings, left to right. `siptls` itself and `siptls.testing` stand outside.
WINGS = ["siptls.trust", "siptls.wire", "siptls.transports"]


def module_of(path: Path) -> str:
    parts = ["siptls", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """Every module that a file imports: at its head, in a function, or for type checkers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that they can be read"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


def wing_of(module: str) -> int | None:
    for place, wing in enumerate(WINGS):
        if module == wing or module.startswith(wing + "."):
            return place
    return None


def test_every_module_has_its_place_in_the_order() -> None:
    assert sorted(MODULES) == sorted(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_what_stands_before_it(module: str) -> None:
    before = ORDER[: ORDER.index(module)]
    ours = {name for name in imports(MODULES[module]) if name.split(".")[0] == "siptls"}
    assert ours <= set(before)


@pytest.mark.parametrize("module", ORDER)
def test_a_wing_imports_nothing_from_its_right(module: str) -> None:
    wing = wing_of(module)
    if wing is None:
        assert not module.startswith(tuple(f"{w}." for w in WINGS))
        return
    ours = [name for name in imports(MODULES[module]) if name.split(".")[0] == "siptls"]
    assert all((wing_of(name) or 0) <= wing for name in ours)
    assert "siptls" not in ours


IMPURE = {"asyncio", "io", "os", "pathlib", "random", "secrets", "select", "selectors", "socket"}
IMPURE |= {"subprocess", "threading", "time", "urllib", "OpenSSL"}


@pytest.mark.parametrize("module", [m for m in ORDER if wing_of(m) == 0])
def test_trust_has_no_input_or_output_and_reads_no_clock(module: str) -> None:
    """`Authority.from_pem` reads files through ``siptls.pem``, when it is built; nothing else."""
    found = {name.split(".")[0] for name in imports(MODULES[module])}
    assert found.isdisjoint(IMPURE)
    if module != "siptls.trust.authority":
        assert "siptls.pem" not in imports(MODULES[module])
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"utcnow", "today", "monotonic"}
            assert not (
                node.attr == "now"
                and isinstance(node.value, ast.Name | ast.Attribute)
                and ast.unparse(node.value).endswith("datetime")
            )


@pytest.mark.parametrize("module", [m for m in ORDER if wing_of(m) == 1])
def test_wire_touches_no_socket_and_no_event_loop(module: str) -> None:
    """`Traffic` and `Memory` have a lock, which is no I/O: they are shared between threads."""
    forbidden = {"asyncio", "select", "selectors", "socket", "threading"}
    if module in {"siptls.wire.traffic", "siptls.wire.memory", "siptls.wire.telling"}:
        forbidden.remove("threading")
    found = {name.split(".")[0] for name in imports(MODULES[module])}
    assert found.isdisjoint(forbidden)


# The public names. One may be added here; none may be renamed or taken away.
PUBLIC = """
    ALPN KEEPALIVE_PING KEEPALIVE_PONG Alert AnyDomain Attempt Authority BelievedName Blocked
    CertificateError ClientConnection Code Combinable CombinableCondition Condition
    ConfigurationError Connection ConnectionClosed ConnectionClosedError Credential DNSResolver
    Decision Enterprise Event Evidence Fault Federation FramingError HandshakeError HandshakeTimeout
    KeyPurposes LimitError Limits OperationTimeout MTLSServerTransport Message MessageFramer
    MessageReceived NameKind NameRules Partner Peer PeerAccepted PeerRefused PeerRefusedError Ping
    Pinned PolicySSLContext Pong ReferenceIdentity RefusedByPeer RefusedByPeerError ResolutionError
    Resolver Role SIPTLSError ServerConnection StaticResolver SystemResolver TLSClientTransport
    TLSInfo DNSTrust TLSServerTransport Target Trust TrustPolicy TrustedServers __version__
    TrustLostError dump_policy load_policy ConnectionPool Backoff
    KeepChange KeepState Kept Comparison Difference DifferenceKind Shadow compare
    Ending EndingKind EndingNotice Reminder Watch WatchEvent watch
    Revocation RevocationMode RevocationScope RevocationSource FetchingSource
    AccountState Discovery EdgeDiscovery FederationReport FederationResolver PeerReport
    RefusedReport Traffic TrafficLimits Verification
""".split()  # noqa: SIM905  a list of words, to be read

# Of the classes that applications hold in their hands: what they may call.
MEMBERS = {
    "Authority": "name anchors purposes revocation from_pem public verify",
    "BelievedName": "name kind domain host authority trust via verification",
    "ClientConnection": "receive_data receive_eof events data_to_send send ping close deadline"
    " handle_deadline peer decision reference credential tls closed established update",
    "Comparison": "rows differences to_dict",
    "Connection": "peer decision reference credential local_address remote_address tls attempts"
    " closed send send_nowait receive ping wait_closed usable aclose __aiter__ __anext__ __aenter__"
    " __aexit__",
    "Credential": "chain key staple from_pem names expires",
    "DNSResolver": "resolve",
    "Decision": "accepted code reason by peer parts notes evidence explain to_dict accept refuse",
    "Difference": "evidence current candidate kind gained lost summary explain to_dict",
    "DifferenceKind": "NONE WOULD_REFUSE WOULD_ACCEPT OTHER_NAMES OTHER_TRUST OTHER_REASON",
    "Evidence": "chain role now reference address staple leaf presented",
    "MTLSServerTransport": "listen addresses serve_forever update peers aclose __aenter__"
    " __aexit__",
    "Message": "data decision head body start_line is_request method uri status header headers"
    " reply forbid",
    "MessageFramer": "feed",
    "NameRules": "RFC5922 OCS RFC9525 TEAMS SIP_SERVICES count answers",
    "FetchingSource": "known prefetch drain close __enter__ __exit__",
    "KeyPurposes": "SIP ROLE RFC5924",
    "Discovery": "authorities own names limits evaluate",
    "Federation": "partners blocked discovery closed discovering open partner evaluate",
    "FederationReport": "peers refused to_dict to_json",
    "Partner": "domains authority names edge verification limits evaluate",
    "Peer": "names domains hosts addresses users trust chain expires enterprise trusted_server"
    " relays blocked limits speaks_for authorize",
    "Traffic": "enter refuse pardon report",
    "TrustedServers": "names relays check",
    "ReferenceIdentity": "parse domain host",
    "Revocation": "crls mode ocsp scope source",
    "ServerConnection": "receive_data receive_eof events data_to_send send ping close deadline"
    " handle_deadline peer decision reference credential tls closed established update",
    "Shadow": "current candidate on_difference authorities evaluate",
    "TLSClientTransport": "connect keep update peers aclose __aenter__ __aexit__",
    "TLSInfo": "version cipher group alpn server_name resumed",
    "TLSServerTransport": "listen addresses serve_forever update peers aclose __aenter__ __aexit__",
    "Ending": "kind name when since",
    "EndingNotice": "ending days left has_ended",
    "Reminder": "due",
    "Watch": "credential policy files attach detach check start close __enter__ __exit__",
    "WatchEvent": "what files error transport",
    "Target": "address port host reference priority weight authenticated",
}


def test_the_public_names_are_these() -> None:
    assert sorted(siptls.__all__) == sorted(PUBLIC)
    assert all(hasattr(siptls, name) for name in PUBLIC)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_public_class_has_its_members(name: str) -> None:
    kind = getattr(siptls, name)
    fields = {field.name for field in getattr(kind, "__attrs_attrs__", ())}
    instance_only = {"Connection": {"attempts"}, "ClientConnection": {"reference"}}
    known = set(dir(kind)) | fields | instance_only.get(name, set())
    assert set(MEMBERS[name].split()) <= known


def test_the_reason_codes_are_these() -> None:
    """Alarms are built on them: one may be added, none renamed."""
    assert {str(code) for code in siptls.Code} == {
        "accepted",
        "certificate.malformed",
        "certificate.missing",
        "name.mismatch",
        "name.none",
        "name.out-of-scope",
        "partner.blocked",
        "partner.limit",
        "partner.undiscovered",
        "partner.unknown",
        "path.constraint",
        "path.expired",
        "path.limit",
        "path.not-yet-valid",
        "path.revocation-unknown",
        "path.revoked",
        "path.signature",
        "path.unknown-ca",
        "path.weak-key",
        "pin.mismatch",
        "policy.error",
        "purpose.unacceptable",
        "sender.malformed",
        "sender.not-authorized",
        "sender.unverifiable",
        "server.not-listed",
    }


def test_every_public_thing_has_a_docstring() -> None:
    bare = [name for name in PUBLIC if not getattr(siptls, name).__doc__]
    assert bare == []


# ---------------------------------------------------------------- names that are loaded when used


def test_each_public_name_is_told_alike_to_type_checkers_and_to_python() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    (told,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        node.module: tuple(alias.name for alias in node.names)
        for node in told.body
        if isinstance(node, ast.ImportFrom)
    }
    assert imported == siptls._NAMES
    assert sorted(siptls.__all__) == sorted({*siptls._HOMES, "__version__"})


def test_every_public_name_is_there_and_no_other() -> None:
    for name in siptls.__all__:
        assert getattr(siptls, name) is not None
        assert name in dir(siptls)
    with pytest.raises(AttributeError, match="module 'siptls' has no attribute 'Enterprize'"):
        siptls.Enterprize  # noqa: B018  it is what is tested


def test_to_import_siptls_loads_nothing_that_is_not_used() -> None:
    program = (
        "import sys, siptls; print({'asyncio', 'attrs', 'OpenSSL'} & set(sys.modules));"
        "siptls.Enterprise; print({'asyncio', 'OpenSSL'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "set()\nset()\n"
