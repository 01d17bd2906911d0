"""A policy as a file: what is read, every fault at once, and back again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import evolve
from certificates import NOW, make_leaf
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from siptls import (
    AnyDomain,
    Authority,
    Blocked,
    ConfigurationError,
    Discovery,
    Enterprise,
    Federation,
    KeyPurposes,
    NameRules,
    Partner,
    Pinned,
    Revocation,
    TrafficLimits,
    TrustedServers,
    Verification,
    dump_policy,
    load_policy,
)
from siptls.policytables import DiscoveryTable, EnterpriseTable, FileTable, PartnerTable
from siptls.testing import CertificateAuthority, assert_accepts, assert_refuses
from siptls.trust.policy import AnyOf

CONTOSO = CertificateAuthority("Contoso CA", seed="file")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="file")
OURS = '[enterprise]\ndomains = ["contoso.com"]\nauthority = "contoso.pem"\n'
THEIRS = '[[partner]]\ndomains = ["fabrikam.com"]\nauthority = "fabrikam.pem"\n'
SERVERS = OURS + 'trusted_servers = ["edge.contoso.com", "sip.contoso.com"]\n'
STRANGERS = '[discovery]\nauthority = "public"\n'
ALONE = STRANGERS + 'own = ["contoso.com"]\n'
# TOML that Python reads, and has no text for: more digits, and more levels, than it writes.
HUGE, DEEP = "0x" + "f" * 5000, ".".join("a" * 20_000)


def relaying(relays: str) -> str:
    """Give a file in which trusted servers relay others."""
    return f"{SERVERS}relays = {{ {relays} }}\n"


CRL, NEXT_CRL = CONTOSO.crl(), CONTOSO.crl(number=2)
RESPONSE = CONTOSO.ocsp(CONTOSO.issue("sip:contoso.com"))


def looking_up(*crls: bytes, **options: Any) -> Any:
    revocation = Revocation(crls, **options)
    return Enterprise(["contoso.com"], CONTOSO.authority(revocation=revocation))


ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())
PARTNER = Partner(["fabrikam.com"], FABRIKAM.authority())
FEDERATION = Federation([PARTNER])
DISCOVERY = Discovery(Authority.public(), own=["contoso.com"])
NOBODY_LISTED = Federation((), discovery=DISCOVERY)
RELAYS = TrustedServers(
    ["edge.contoso.com", "sip.contoso.com"],
    relays={"edge.contoso.com": ["litware.com", "fabrikam.com"], "sip.contoso.com": ["*"]},
)
LIMITS = [one.name for one in attrs.fields(TrafficLimits)]
SLOW = TrafficLimits(messages_per_second=2.5, burst=3, connections=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of two CAs, and one with a leaf in it."""
    (tmp_path / "contoso.pem").write_bytes(CONTOSO.pem)
    (tmp_path / "contoso.crl").write_bytes(CRL)
    (tmp_path / "contoso.der").write_bytes(RESPONSE)
    (tmp_path / "fabrikam.pem").write_bytes(FABRIKAM.pem)
    leaf = make_leaf_pem()
    (tmp_path / "leaf.pem").write_bytes(leaf)
    (tmp_path / "both.pem").write_bytes(CONTOSO.pem + leaf)
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "cut.pem").write_bytes(CONTOSO.pem[:200] + b"\n-----END CERTIFICATE-----\n")
    return tmp_path


def make_leaf_pem() -> bytes:
    return CONTOSO.issue("sip:contoso.com").chain[0].public_bytes(Encoding.PEM)


def load(folder: Path, text: str) -> Any:
    (folder / "policy.toml").write_text(text, encoding="utf-8")
    return load_policy(folder / "policy.toml")


def faults(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    assert all(fault in str(caught.value) for fault in caught.value.faults)
    assert str(folder / "policy.toml") in str(caught.value)
    return tuple(caught.value.faults)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (OURS, ENTERPRISE),
        (THEIRS, FEDERATION),
        (OURS + THEIRS, ENTERPRISE | FEDERATION),
        (
            OURS + 'trusted_servers = ["edge.contoso.com"]\n' + THEIRS,
            ENTERPRISE & TrustedServers(["edge.contoso.com"]) | FEDERATION,
        ),
        ('blocked = ["evil.example"]\n' + OURS, ENTERPRISE & Blocked(["evil.example"])),
        (
            'blocked = ["evil.example"]\n' + OURS + THEIRS,
            (ENTERPRISE | FEDERATION) & Blocked(["evil.example"]),
        ),
        (OURS + "blocked = []\n", None),
        ("blocked = []\n" + OURS, ENTERPRISE),
        (OURS + 'names = "OCS"\n', evolve(ENTERPRISE, names=NameRules.OCS)),
        (
            THEIRS + 'purposes = "ROLE"\n',
            Federation([Partner(["fabrikam.com"], FABRIKAM.authority(purposes=KeyPurposes.ROLE))]),
        ),
        (
            OURS + 'authority_name = "ours"\n',
            Enterprise(["contoso.com"], CONTOSO.authority("ours")),
        ),
        (
            OURS.replace('"contoso.pem"', '["contoso.pem", "fabrikam.pem"]'),
            Enterprise(
                ["contoso.com"],
                Authority("Contoso CA", [CONTOSO.certificate, FABRIKAM.certificate]),
            ),
        ),
        (OURS + 'crls = ["contoso.crl"]\n', looking_up(CRL)),
        (OURS + 'revocation = "require"\n', looking_up()),
        (OURS + "crls = []\n", looking_up()),
        (
            OURS + 'revocation = "soft"\nrevocation_scope = "leaf"\nocsp = ["contoso.der"]\n',
            looking_up(ocsp=RESPONSE, mode="soft", scope="leaf"),
        ),
        (OURS + 'crls = ["contoso.crl"]\nrevocation = "off"\n', looking_up(CRL, mode="off")),
        (OURS.replace("contoso.pem", "public"), Enterprise(["contoso.com"], Authority.public())),
        (
            relaying(
                '"EDGE.contoso.com" = ["Litware.com", "fabrikam.com"], "sip.contoso.com" = ["*"]'
            ),
            ENTERPRISE & RELAYS,
        ),
        (
            SERVERS + "[enterprise.relays]\n",
            ENTERPRISE & TrustedServers(["edge.contoso.com", "sip.contoso.com"]),
        ),
        (
            THEIRS + 'edge = "SIP.hoster.example"\nverification = "use-source"\n',
            Federation(
                [evolve(PARTNER, edge="sip.hoster.example", verification=Verification.USE_SOURCE)]
            ),
        ),
        (
            THEIRS
            + 'verification = "always-unverifiable"\n[partner.limits]\nmessages_per_second = 2.5\n'
            + "burst = 3\nconnections = 1\n",
            Federation(
                [evolve(PARTNER, verification=Verification.ALWAYS_UNVERIFIABLE, limits=SLOW)]
            ),
        ),
        (
            THEIRS + 'verification = "always-verifiable"\nlimits = {}\n',
            Federation([evolve(PARTNER, limits=TrafficLimits())]),
        ),
        (THEIRS + "limits = false\n", FEDERATION),
        (ALONE, NOBODY_LISTED),
        (OURS + STRANGERS, ENTERPRISE | NOBODY_LISTED),
        (OURS + STRANGERS + "own = []\n", ENTERPRISE | NOBODY_LISTED),
        (
            OURS + STRANGERS + 'own = ["Contoso.net", "contoso.com"]\n',
            ENTERPRISE
            | Federation((), discovery=evolve(DISCOVERY, own=["contoso.com", "contoso.net"])),
        ),
        (OURS + STRANGERS + THEIRS, ENTERPRISE | evolve(FEDERATION, discovery=DISCOVERY)),
        (
            ALONE + "limits = false\n",
            Federation((), discovery=evolve(DISCOVERY, limits=None)),
        ),
        (ALONE + "[discovery.limits]\n", NOBODY_LISTED),
        (
            ALONE + "limits = { messages_per_second = 2.5, burst = 3, connections = 1 }\n",
            Federation((), discovery=evolve(DISCOVERY, limits=SLOW)),
        ),
        (
            ALONE.replace("public", "fabrikam.pem")
            + 'authority_name = "hosters"\nnames = "OCS"\npurposes = "ROLE"\n'
            + 'revocation = "soft"\n',
            Federation.open(
                FABRIKAM.authority(
                    "hosters", purposes=KeyPurposes.ROLE, revocation=Revocation(mode="soft")
                ),
                own=["contoso.com"],
                names=NameRules.OCS,
            ),
        ),
        (
            'blocked = ["evil.example"]\n' + ALONE,
            NOBODY_LISTED & Blocked(["evil.example"]),
        ),
        (OURS.replace('"contoso.com"', '"CONTOSO.com", "bücher.example"'), None),
    ],
)
def test_a_file_stands_for_a_policy(folder: Path, text: str, policy: Any) -> None:
    if policy is None:
        assert_what_is_special(folder, text)
        return
    assert load(folder, text) == policy


def assert_what_is_special(folder: Path, text: str) -> None:
    if "bücher" in text:
        domains = load(folder, text).domains.domains
        assert domains == {"contoso.com", "xn--bcher-kva.example"}
    else:
        assert faults(folder, text) == (
            "enterprise.blocked: unknown key; known are authority, authority_name, names, purposes,"
            " revocation, revocation_scope, crls, ocsp, domains, trusted_servers, relays",
        )


def test_a_loaded_policy_judges(folder: Path) -> None:
    policy = load(folder, 'blocked = ["old.contoso.com"]\n' + OURS + THEIRS)
    assert_accepts(policy, FABRIKAM.issue("sip:fabrikam.com"), domains=["fabrikam.com"])
    assert_refuses(policy, FABRIKAM.issue("sip:contoso.com"), "name.out-of-scope")
    assert_refuses(policy, CONTOSO.issue("sip:old.contoso.com"), "partner.blocked")


def test_a_ca_may_stand_in_the_file_itself(folder: Path) -> None:
    pem = CONTOSO.pem.decode("ascii")
    text = f"[enterprise]\ndomains = [\"contoso.com\"]\nauthority = '''\n{pem}'''\n"
    assert load(folder, text) == ENTERPRISE


def test_a_ca_without_a_common_name_is_called_by_its_subject(folder: Path) -> None:
    from certificates import CA, make  # noqa: PLC0415  what only this test needs

    odd = make("", None, (CA, True))
    (folder / "odd.pem").write_bytes(odd.certificate.public_bytes(Encoding.PEM))
    policy = load(folder, OURS.replace("contoso.pem", "odd.pem"))
    assert policy.authority.name == ""


def test_files_are_looked_for_beside_the_policy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load(folder, OURS) == ENTERPRISE


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "an [enterprise], a [[partner]] or a [discovery] is wanted: nobody is believed"),
        ("partner = []", "an [enterprise], a [[partner]] or a [discovery] is wanted"),
        ("enterprise = 1\n", "enterprise: a table is wanted, not 1"),
        ("partner = {}\n", "partner: tables are wanted, each as [[partner]], not {}"),
        ("colour = 1\n" + OURS, "colour: unknown key; known are blocked, enterprise, partner"),
        ("discovery = true\n", "discovery: a table is wanted, not true"),
        (OURS + "[[discovery]]\n", "discovery: a table is wanted, not [{}]"),
        (OURS + "[discover]\n", "discover: unknown key; is discovery meant?"),
        ("[[partners]]\n" + OURS, "partners: unknown key; is partner meant?"),
        (OURS + 'domain = ["x.com"]\n', "enterprise.domain: unknown key; is domains meant?"),
        (
            'blocked = "evil.example"\n' + OURS,
            'blocked: a list of strings is wanted, such as ["x"]',
        ),
        ('blocked = ["*.evil.example"]\n' + OURS, "blocked: '*.evil.example' is no domain"),
        (OURS.replace('["contoso.com"]', "[]"), "enterprise.domains: no domains"),
        (OURS.replace('["contoso.com"]', '["192.0.2.1"]'), "enterprise.domains: '192.0.2.1' is no"),
        (OURS.replace('["contoso.com"]', "[1]"), "enterprise.domains: a list of strings is wanted"),
        (
            OURS.replace('["contoso.com"]', '[""]'),
            "enterprise.domains: a list of strings is wanted",
        ),
        ('[enterprise]\nauthority = "contoso.pem"\n', "enterprise.domains: is missing"),
        ('[enterprise]\ndomains = ["contoso.com"]\n', "enterprise.authority: is missing"),
        (OURS.replace('"contoso.pem"', "1"), "enterprise.authority: a string is wanted, not 1"),
        (OURS.replace('"contoso.pem"', "[1]"), "enterprise.authority: a list of strings is wanted"),
        (OURS.replace('"contoso.pem"', "[]"), "enterprise.authority: a string is wanted, not []"),
        (OURS.replace("contoso.pem", "gone.pem"), "enterprise.authority: cannot read"),
        (OURS.replace("contoso.pem", "empty.pem"), "enterprise.authority: "),
        (OURS.replace("contoso.pem", "cut.pem"), "enterprise.authority: "),
        (OURS.replace("contoso.pem", "leaf.pem"), "enterprise.authority: anchors that are no CA"),
        (OURS.replace("contoso.pem", "both.pem"), "enterprise.authority: anchors that are no CA"),
        (
            OURS + 'names = "OCS2007"\n',
            'enterprise.names: "OCS2007" is none of RFC5922, OCS, RFC9525',
        ),
        (THEIRS + 'purposes = "sip"\n', 'partner[0].purposes: "sip" is none of SIP, ROLE, RFC5924'),
        (OURS + 'revocation = "hard"\n', 'enterprise.revocation: "hard" is none of require, soft'),
        (
            OURS + 'revocation_scope = "all"\n',
            'enterprise.revocation_scope: "all" is none of chain',
        ),
        (OURS + 'crls = ["gone.crl"]\n', "enterprise.crls: cannot read"),
        (OURS + 'crls = "contoso.crl"\n', "enterprise.crls: a list of strings is wanted"),
        (OURS + 'ocsp = ["gone.der"]\n', "enterprise.ocsp: cannot read"),
        (OURS + "names = 5922\n", "enterprise.names: a string is wanted, not 5922"),
        (
            OURS + 'trusted_servers = ["10.0.0.1"]\n',
            "enterprise.trusted_servers: '10.0.0.1' is no domain: an IP address is not a name",
        ),
        (OURS + "trusted_servers = []\n", "enterprise.trusted_servers: TrustedServers of nothing"),
        (
            THEIRS + 'trusted_servers = ["edge.fabrikam.com"]\n',
            "partner[0].trusted_servers: unknown key",
        ),
        (THEIRS + THEIRS, "partner[1].domains: fabrikam.com is claimed by partner[0], too"),
        (
            OURS + THEIRS.replace("fabrikam.com", "Contoso.com"),
            "partner[0].domains: contoso.com is one of our own domains",
        ),
        (
            OURS + THEIRS.replace("fabrikam.com", "eu.contoso.com"),
            "partner[0].domains: eu.contoso.com is one of our own domains",
        ),
        (
            OURS.replace("contoso.com", "eu.contoso.com")
            + THEIRS.replace("fabrikam.com", "contoso.com"),
            "partner[0].domains: contoso.com stands above our own eu.contoso.com",
        ),
        # relays
        (SERVERS + "relays = 1\n", "enterprise.relays: a table is wanted, not 1"),
        (SERVERS + "relay = {}\n", "enterprise.relay: unknown key; is relays meant?"),
        (
            OURS + 'relays = { "edge.contoso.com" = ["*"] }\n',
            "enterprise.relays: trusted_servers is missing, which must name the relay",
        ),
        (
            OURS + 'trusted_servers = 1\nrelays = { "edge.contoso.com" = ["*"] }\n',
            "enterprise.trusted_servers: a list of strings is wanted",
        ),
        (
            relaying('"edg.contoso.com" = ["*"]'),
            "enterprise.relays: edg.contoso.com is none of the trusted servers; is edge.contoso.com"
            " meant?",
        ),
        (
            relaying('edge = ["*"]'),
            "enterprise.relays: edge is none of the trusted servers",
        ),
        (relaying('"10.0.0.1" = ["*"]'), "enterprise.relays: '10.0.0.1' is no domain"),
        (
            relaying('"edge.contoso.com" = ["*"], "Edge.contoso.com" = ["litware.com"]'),
            "enterprise.relays: edge.contoso.com stands there twice",
        ),
        (
            relaying('"edge.contoso.com" = "*"'),
            'enterprise.relays["edge.contoso.com"]: a list of strings is wanted, such as ["x"], not'
            ' "*"',
        ),
        (
            relaying('"edge.contoso.com" = ["*.litware.com"]'),
            "enterprise.relays[\"edge.contoso.com\"]: '*.litware.com' is no domain",
        ),
        (
            relaying('"edge.contoso.com" = ["EU.contoso.com"]'),
            'enterprise.relays["edge.contoso.com"]: eu.contoso.com is one of our own domains, for',
        ),
        (
            relaying('"edge.contoso.com" = ["fabricam.com"]') + THEIRS,
            'enterprise.relays["edge.contoso.com"]: no partner has fabricam.com; is fabrikam.com'
            " meant?",
        ),
        # edge, verification, limits
        (THEIRS + 'edge = ["sip.fabrikam.com"]\n', "partner[0].edge: a string is wanted"),
        (THEIRS + 'edge = "192.0.2.1"\n', "partner[0].edge: '192.0.2.1' is no domain"),
        (THEIRS + 'edges = "sip.fabrikam.com"\n', "partner[0].edges: unknown key; is edge meant?"),
        (OURS + 'edge = "edge.contoso.com"\n', "enterprise.edge: unknown key"),
        (
            OURS + THEIRS + 'edge = "Edge.contoso.com"\n',
            "partner[0].edge: edge.contoso.com is in one of our own domains",
        ),
        (
            THEIRS + 'edge = "contoso.com"\n' + ALONE,
            "partner[0].edge: contoso.com is in one of our own domains",
        ),
        (
            THEIRS + 'verification = "always_verifiable"\n',
            'partner[0].verification: "always_verifiable" is none of always-verifiable,'
            " always-unverifiable, use-source; is always-verifiable meant?",
        ),
        (THEIRS + "verification = true\n", "partner[0].verification: a string is wanted"),
        (THEIRS + 'verified = "x"\n', "partner[0].verified: unknown key; is verification meant?"),
        (
            THEIRS + "limits = true\n",
            "partner[0].limits: a table is wanted, or false for no limits, not true",
        ),
        (THEIRS + "limits = 0\n", "partner[0].limits: a table is wanted, or false for no limits"),
        (THEIRS + "limit = {}\n", "partner[0].limit: unknown key; is limits meant?"),
        (
            THEIRS + "limits = { burst = 0 }\n",
            "partner[0].limits.burst: TrafficLimits.burst is a positive whole number, not 0",
        ),
        (
            THEIRS + "limits = { period = nan }\n",
            "partner[0].limits.period: TrafficLimits.period is a number of seconds",
        ),
        (
            THEIRS + "limits = { message_per_second = 1 }\n",
            "partner[0].limits.message_per_second: unknown key; is messages_per_second meant?",
        ),
        # what is too large for a message
        (
            THEIRS + f"limits = {{ burst = {HUGE} }}\n",
            "partner[0].limits.burst: too large a number",
        ),
        (
            ALONE + f"limits = {{ period = {HUGE} }}\n",
            "discovery.limits.period: too large a number",
        ),
        (OURS + f"names = {HUGE}\n", "enterprise.names: too large a number"),
        (
            relaying(f'"edge.contoso.com" = [{HUGE}]'),
            'enterprise.relays["edge.contoso.com"]: a list of strings is wanted, such as ["x"], not'
            " what is too large to be shown",
        ),
        (OURS + f"names.{DEEP} = 1\n", "enterprise.names: a string is wanted, not what is too"),
        # discovery
        (STRANGERS, "discovery.own: is missing, and there is no [enterprise]"),
        (STRANGERS + "own = []\n", "discovery.own: is missing, and there is no [enterprise]"),
        (STRANGERS + "own = 1\n", "discovery.own: a list of strings is wanted"),
        (STRANGERS + 'own = ["*"]\n', "discovery.own: '*' is no domain"),
        (OURS + STRANGERS + 'own = ["*"]\n', "discovery.own: '*' is no domain"),
        (
            OURS.replace('["contoso.com"]', '["*"]') + STRANGERS,
            "enterprise.domains: '*' is no domain",
        ),
        ('[discovery]\nown = ["contoso.com"]\n', "discovery.authority: is missing"),
        (ALONE.replace("public", "gone.pem"), "discovery.authority: cannot read"),
        (ALONE + 'domains = ["x.com"]\n', "discovery.domains: unknown key; known are authority"),
        (ALONE + 'owns = ["x.com"]\n', "discovery.owns: unknown key; is own meant?"),
        (ALONE + 'names = "Teams"\n', 'discovery.names: "Teams" is none of RFC5922'),
        (ALONE + 'purposes = "Sip"\n', 'discovery.purposes: "Sip" is none of SIP'),
        (ALONE + 'revocation = "on"\n', 'discovery.revocation: "on" is none of require'),
        (ALONE + 'crls = ["gone.crl"]\n', "discovery.crls: cannot read"),
        (ALONE + "limits = true\n", "discovery.limits: a table is wanted, or false for no limits"),
        (
            ALONE + "[discovery.limits]\nsuspicious_share = 2\n",
            "discovery.limits.suspicious_share: TrafficLimits.suspicious_share is a share",
        ),
        (
            OURS
            + THEIRS.replace("fabrikam.com", "contoso.net")
            + STRANGERS
            + 'own=["contoso.net"]',
            "partner[0].domains: contoso.net is one of our own domains",
        ),
        (
            'blocked = ["contoso.com"]\n' + ALONE,
            "blocked: contoso.com would block our own contoso.com",
        ),
    ],
)
def test_a_fault_is_told_with_its_key(folder: Path, text: str, expected: str) -> None:
    (fault,) = faults(folder, text)
    assert fault.startswith(expected)


def test_each_faulty_crl_is_told_with_its_file(folder: Path) -> None:
    text = OURS + 'crls = ["contoso.pem", "contoso.crl", "contoso.der"]\nrevocation = "Soft"\n'
    mode, *crls = faults(folder, text)
    assert mode == 'enterprise.revocation: "Soft" is none of require, soft, off; is soft meant?'
    for fault, name in zip(crls, ("contoso.pem", "contoso.der"), strict=True):
        assert fault.startswith(f"enterprise.crls: {folder / name}: crls[0] cannot be used: ")


def test_all_faults_are_told_at_once(folder: Path) -> None:
    text = (
        'colour = 1\nblocked = ["*"]\n'
        + OURS.replace("contoso.pem", "leaf.pem")
        + 'names = "x"\npurposes = "y"\ntrusted_servers = ["10.0.0.1"]\n'
        + THEIRS.replace("fabrikam.pem", "gone.pem").replace("fabrikam.com", "eu.contoso.com")
        + 'edge = "sip.contoso.com"\nverification = "z"\nlimits = { burst = 0, period = 0 }\n'
        + '[enterprise.relays]\n"10.0.0.1" = ["*."]\n"a.contoso.com" = ["b.contoso.com", "."]\n'
        + "[[partner]]\ncolour = 1\n[discovery]\nlimits = true\nown = 1\n"
    )
    keys = [fault.split(":")[0] for fault in faults(folder, text)]
    assert sorted(keys) == [
        "blocked",
        "colour",
        "discovery.authority",
        "discovery.limits",
        "discovery.own",
        "enterprise.authority",
        "enterprise.names",
        "enterprise.purposes",
        "enterprise.relays",
        'enterprise.relays["10.0.0.1"]',
        'enterprise.relays["a.contoso.com"]',
        'enterprise.relays["a.contoso.com"]',
        "enterprise.trusted_servers",
        "partner[0].authority",
        "partner[0].domains",
        "partner[0].edge",
        "partner[0].limits.burst",
        "partner[0].limits.period",
        "partner[0].verification",
        "partner[1].authority",
        "partner[1].colour",
        "partner[1].domains",
    ]


@pytest.mark.parametrize(
    "text",
    [
        relaying('"edge.contoso.com" = ["eu.fabrikam.com", "com"]') + THEIRS,
        relaying('"edge.contoso.com" = ["litware.com", "fabrikam.net", "*"]') + THEIRS,
        relaying('"edge.contoso.com" = ["fabrikam.com"]')
        + THEIRS.replace("fabrikam.com", "eu.fabrikam.com"),
        relaying('"edge.contoso.com" = ["fabricam.com"]'),
        relaying('"edge.contoso.com" = ["fabricam.com"]') + THEIRS + STRANGERS,
        relaying('"edge.contoso.com" = ["contoso.net"]') + STRANGERS + 'own = ["contoso.net"]\n',
        THEIRS + 'edge = "sip.woodgrove.com"\n' + THEIRS.replace("fabrikam.com", "woodgrove.com"),
    ],
)
def test_what_may_be_meant_is_no_fault(folder: Path, text: str) -> None:
    """A relay's domains need not be partners of this machine, nor an edge in its own domain."""
    load(folder, text)


def test_a_slip_is_not_looked_for_among_partners_of_whom_some_are_faulty(folder: Path) -> None:
    site2 = THEIRS.replace("fabrikam.com", "site2.com")
    site1 = THEIRS.replace('"fabrikam.com"', '"*", "site1.com"')
    (fault,) = faults(folder, relaying('"edge.contoso.com" = ["site1.com"]') + site2 + site1)
    assert fault.startswith("partner[1].domains: '*' is no domain")


def test_every_faulty_domain_of_a_list_is_told(folder: Path) -> None:
    text = OURS.replace('"contoso.com"', '"*.contoso.com", "contoso.com", "10.0.0.1"')
    assert [fault.split(" is no")[0] for fault in faults(folder, text)] == [
        "enterprise.domains: '*.contoso.com'",
        "enterprise.domains: '10.0.0.1'",
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"[enterprise",
        b"\xff\xfe",
        b"a = 1\na = 2\n",
        b"[discovery.limits]\nburst = " + b"1" * 5000,
        b"blocked = " + b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_toml_is_told_as_such(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "policy.toml").write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"policy\.toml is no TOML file: "):
        load_policy(tmp_path / "policy.toml")


def test_a_file_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read '.*gone\.toml': No such file"):
        load_policy(tmp_path / "gone.toml")


# ---------------------------------------------------------------- back again

DUMPABLE = [
    ENTERPRISE,
    FEDERATION,
    ENTERPRISE | FEDERATION,
    ENTERPRISE & TrustedServers(["b.contoso.com", "a.contoso.com"]),
    (ENTERPRISE & TrustedServers(["a.contoso.com"]) | FEDERATION) & Blocked(["x.com", "evil.com"]),
    Enterprise(["contoso.com", "contoso.net"], CONTOSO.authority('"odd"\n\\name')),
    Enterprise(["contoso.com"], CONTOSO.authority("\U0001f600 CA\x7f\x85\u2028\x00")),
    Enterprise(["contoso.com"], Authority.public(), names=NameRules.TEAMS),
    Enterprise(["contoso.com"], evolve(Authority.public(purposes=KeyPurposes.ROLE), name="web")),
    Federation(
        [
            Partner(["fabrikam.com"], FABRIKAM.authority(purposes=KeyPurposes.RFC5924)),
            Partner(["woodgrove.com"], CONTOSO.authority(), names=NameRules.OCS),
        ]
    )
    & Blocked(["evil.com"]),
    looking_up(),
    looking_up(CRL, NEXT_CRL),
    looking_up(CRL, mode="soft", scope="leaf"),
    looking_up(mode="off"),
    Federation(
        [
            Partner(["woodgrove.com"], Authority.public(revocation=Revocation(CRL))),
            Partner(["fabrikam.com"], FABRIKAM.authority(revocation=Revocation(mode="soft"))),
        ]
    ),
    Enterprise(["contoso.com"], Authority("two", [CONTOSO.certificate, FABRIKAM.certificate])),
    ENTERPRISE & RELAYS,
    (ENTERPRISE & RELAYS | evolve(FEDERATION, discovery=DISCOVERY)) & Blocked(["evil.com"]),
    ENTERPRISE & TrustedServers(["a.contoso.com"], relays={"a.contoso.com": []}),
    Federation(
        [evolve(PARTNER, limits=TrafficLimits(**dict.fromkeys(LIMITS, 1) | {"suspicious_rate": 2}))]
    ),
    Federation(
        [
            evolve(PARTNER, edge="sip.hoster.example", limits=SLOW),
            Partner(["woodgrove.com"], CONTOSO.authority(), verification=Verification.USE_SOURCE),
            Partner(["litware.com"], CONTOSO.authority(), limits=TrafficLimits()),
        ]
    ),
    NOBODY_LISTED,
    ENTERPRISE | NOBODY_LISTED,
    ENTERPRISE | Federation((), discovery=evolve(DISCOVERY, limits=None)),
    Federation((), discovery=evolve(DISCOVERY, limits=SLOW, names=NameRules.TEAMS)),
    ENTERPRISE
    | Federation.discovering(
        [PARTNER],
        FABRIKAM.authority("theirs", purposes=KeyPurposes.ROLE, revocation=Revocation(CRL)),
        own=["contoso.com", "contoso.net", "eu.contoso.com"],
    ),
    Federation((), discovery=evolve(DISCOVERY, own=["contoso.com", "contoso.net"])),
]


@pytest.mark.parametrize("policy", DUMPABLE)
def test_what_is_dumped_loads_as_an_equal_policy(tmp_path: Path, policy: Any) -> None:
    text = dump_policy(policy)
    assert text.isascii()
    assert load(tmp_path, text) == policy
    assert dump_policy(load_policy(tmp_path / "policy.toml")) == text


words = st.sampled_from(["a", "b-c", "xn--bcher-kva", "com", "7"])
counts = st.integers(1, 2**40)
rates = st.floats(0.001, 1e6) | st.integers(1, 10**6)
limits = st.none() | st.builds(
    TrafficLimits,
    messages_per_second=rates,
    burst=counts,
    distinct_uris=counts,
    suspicious_rate=rates,
    suspicious_share=st.floats(0, 1, exclude_min=True),
    suspicious_after=counts,
    period=st.floats(1, 1e9),
    connections=counts,
)


def domains_of(*tops: str) -> st.SearchStrategy[str]:
    """Give domains below some, which say whose they are."""
    return st.builds(
        lambda labels, top: ".".join([*labels, top]),
        st.lists(words, max_size=2),
        st.sampled_from(tops),
    )


def lists_of(domains: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(domains, min_size=1, max_size=3, unique=True)


OUR_TOPS, THEIR_TOPS = ["contoso.com", "com.contoso"], ["fabrikam.com", "lit.ware", "litware"]
our_domains, their_domains = domains_of(*OUR_TOPS), domains_of(*THEIR_TOPS)
any_domains = domains_of(*OUR_TOPS, *THEIR_TOPS * 9)
authorities = st.sampled_from([CONTOSO.authority(), FABRIKAM.authority("x"), Authority.public()])
rules = st.sampled_from([NameRules.RFC5922, NameRules.OCS, NameRules.RFC9525, NameRules.TEAMS])
partners = st.builds(
    Partner,
    lists_of(any_domains),
    authorities,
    names=rules,
    edge=st.none() | any_domains,
    verification=st.sampled_from(Verification),
    limits=limits,
)


@st.composite
def policies(draw: st.DrawFn) -> Any:
    """Policies that a file may have, if nobody claims what is another's."""
    ours = Enterprise(draw(lists_of(our_domains)), draw(authorities), names=draw(rules))
    servers = draw(st.none() | lists_of(domains_of(*sorted(ours.domains.domains))))
    condition = None
    if servers is not None:
        relayed = st.lists(any_domains | st.just("*"), max_size=3)
        relays = draw(st.dictionaries(st.sampled_from(servers), relayed))
        condition = TrustedServers(servers, relays=relays)
    listed = draw(st.lists(partners, max_size=2))
    own = [*ours.domains.domains, *draw(st.lists(our_domains, max_size=2))]
    discovery = Discovery(draw(authorities), own=own, names=draw(rules), limits=draw(limits))
    claims = [domain for partner in listed for domain in partner.domains.domains]
    assume(len(claims) == len(set(claims)))
    has_strangers = draw(st.booleans())
    policy: Any = ours if condition is None else ours & condition
    if has_strangers or listed:
        try:
            policy |= Federation(listed, discovery=discovery if has_strangers else None)
        except ConfigurationError:  # a partner with a domain of ours
            reject()
    blocked = draw(st.none() | lists_of(any_domains))
    return policy if blocked is None else policy & Blocked(blocked)


SOMEBODY_ELSES = re.compile(
    r"blocked: |enterprise\.relays\[.+?\]: |partner\[\d\]\.(domains|edge): "
)


@given(policies())
def test_a_policy_is_dumped_so_that_it_loads_or_its_faults_are_told(
    tmp_path_factory: pytest.TempPathFactory, policy: Any
) -> None:
    """Of what is no fault nothing is lost; and what is one is told with a key, and never else."""
    try:
        text = dump_policy(policy)
    except ConfigurationError as error:
        told = error.faults
    else:
        file = tmp_path_factory.getbasetemp() / "property.toml"
        file.write_text(text, encoding="ascii")
        assert load_policy(file) == policy
        return
    assert told
    assert all(SOMEBODY_ELSES.match(fault) for fault in told), told


@given(limits, limits)
def test_limits_come_back_as_they_were(theirs: Any, strangers: Any) -> None:
    policy = Federation(
        [evolve(PARTNER, limits=theirs)], discovery=evolve(DISCOVERY, limits=strangers)
    )
    assert dump_policy(policy)  # which has compared what is read again


class Source:
    """A cache that has nothing."""

    def known(self, *_: Any) -> list[bytes]:
        return []


def subclass(value: Any) -> Any:
    """Give the same as a subclass, which may ask for more than its base."""
    kind = type(value)
    fields = {one.alias: getattr(value, one.name) for one in attrs.fields(kind) if one.init}
    return type("Stricter", (kind,), {})(**fields)


MINE = NameRules("mine", wildcard=True)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (AnyDomain(Authority.public()), "an AnyDomain cannot stand in a policy file"),
        (PARTNER, "a Partner cannot stand in a policy file"),
        (Pinned({"contoso.com": ["sha256:" + "00" * 32]}), "a Pinned cannot stand"),
        (ENTERPRISE | AnyDomain(Authority.public()), "an AnyOf cannot stand"),
        (ENTERPRISE | FEDERATION | FEDERATION, "an AnyOf cannot stand"),
        (FEDERATION | FEDERATION, "an AnyOf cannot stand"),
        (FEDERATION & TrustedServers(["edge.fabrikam.com"]), "a Restricted cannot stand"),
        (ENTERPRISE & Blocked(["a.com"]) & Blocked(["b.com"]), "a Restricted cannot stand"),
        (Federation([PARTNER], blocked=["a.com"]), "a Federation with blocked= cannot stand"),
        (
            ENTERPRISE | Federation([PARTNER], blocked=["a.com"]),
            r"write \(enterprise \| federation\) & Blocked\(\[...\]\)",
        ),
        (evolve(ENTERPRISE, names=MINE), r"names of your own \(mine\) cannot stand"),
        (
            Enterprise(
                ["contoso.com"],
                CONTOSO.authority(purposes=KeyPurposes("mine", server=["any"], client=["any"])),
            ),
            r"purposes of your own \(mine\) cannot stand",
        ),
        (
            looking_up(ocsp=RESPONSE),
            "with OCSP responses cannot stand in a policy file: it has",
        ),
        (looking_up(source=Source()), "a Revocation with a source or"),
        (evolve(ENTERPRISE, names=NameRules("OCS")), r"names of your own \(OCS\) cannot stand"),
        (DISCOVERY, "a Discovery cannot stand in a policy file like this"),
        (ENTERPRISE | DISCOVERY, "an AnyOf cannot stand"),
        (NOBODY_LISTED | ENTERPRISE, "an AnyOf cannot stand"),
        (
            Federation([evolve(PARTNER, limits=TrafficLimits(burst=2**63))]),
            r"limits with a number of more than 64 bits \(burst\) cannot stand in a policy file",
        ),
        (
            Federation((), discovery=evolve(DISCOVERY, limits=TrafficLimits(burst=16**5000))),
            r"limits with a number of more than 64 bits \(burst\) cannot stand in a policy file",
        ),
        (NOBODY_LISTED & Blocked(["a.com"]) & Blocked(["b.com"]), "a Restricted cannot stand"),
        (Federation((), discovery=subclass(DISCOVERY)), "a Stricter cannot stand"),
        (Federation([subclass(PARTNER)]), "a Stricter cannot stand"),
        (
            Federation.open([Authority.public(), CONTOSO.authority()], own=["contoso.com"]),
            "a Discovery with 2 authorities cannot stand in a policy file: it has one there",
        ),
        (
            ENTERPRISE | Federation((), discovery=evolve(DISCOVERY, own=["contoso.net"])),
            "a Discovery whose own= lacks contoso.com cannot stand in a policy file beside the",
        ),
        (
            Federation((), discovery=evolve(DISCOVERY, names=MINE)),
            r"names of your own \(mine\) cannot stand",
        ),
    ],
)
def test_what_no_file_can_have_is_not_dumped(policy: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        dump_policy(policy)


LISTED = TrustedServers(["a.contoso.com"])
NOT_EVIL = Blocked(["evil.com"])


@pytest.mark.parametrize(
    "policy",
    [
        subclass(ENTERPRISE),
        subclass(FEDERATION),
        ENTERPRISE & subclass(LISTED),
        subclass(ENTERPRISE) & LISTED,
        subclass(ENTERPRISE & LISTED),
        ENTERPRISE & subclass(NOT_EVIL),
        subclass(ENTERPRISE & NOT_EVIL),
        subclass(ENTERPRISE | FEDERATION),
        ENTERPRISE | subclass(FEDERATION),
        Federation([subclass(PARTNER)]),
        evolve(ENTERPRISE, domains=subclass(ENTERPRISE.domains)),
        evolve(ENTERPRISE, authority=subclass(ENTERPRISE.authority)),
        evolve(ENTERPRISE, authority=CONTOSO.authority(revocation=subclass(Revocation(CRL)))),
        ENTERPRISE & Blocked(subclass(NOT_EVIL.domains)),
        Federation((), discovery=subclass(DISCOVERY)),
        Federation((), discovery=evolve(DISCOVERY, own=subclass(DISCOVERY.own))),
        Federation((), discovery=evolve(DISCOVERY, limits=subclass(SLOW))),
        Federation((), discovery=evolve(DISCOVERY, limits=subclass(TrafficLimits()))),
        Federation([evolve(PARTNER, limits=subclass(SLOW))]),
    ],
)
def test_a_subclass_is_not_dumped_as_its_base(policy: Any) -> None:
    """It may believe fewer than its base, and the file would believe all of them."""
    with pytest.raises(ConfigurationError, match="cannot stand in a policy file"):
        dump_policy(policy)


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (
            Enterprise(["contoso.com"], evolve(CONTOSO.authority(), name="")),
            "enterprise.authority_name: a string is wanted",
        ),
        (
            ENTERPRISE | Federation([Partner(["eu.contoso.com"], FABRIKAM.authority())]),
            "partner[0].domains: eu.contoso.com is one of our own domains",
        ),
        (
            ENTERPRISE & TrustedServers(["edge.fabrikam.com"]),
            "enterprise.trusted_servers: edge.fabrikam.com is below none of our domains",
        ),
        (ENTERPRISE & Blocked(["com"]), "blocked: com would block our own contoso.com"),
        (NOBODY_LISTED & Blocked(["com"]), "blocked: com would block our own contoso.com"),
        (
            ENTERPRISE | Federation([evolve(PARTNER, edge="sip.contoso.com")]),
            "partner[0].edge: sip.contoso.com is in one of our own domains",
        ),
        (
            ENTERPRISE & evolve(RELAYS, relays={"sip.contoso.com": ["contoso.com"]}),
            'enterprise.relays["sip.contoso.com"]: contoso.com is one of our own domains',
        ),
    ],
)
def test_what_would_not_load_is_not_dumped(policy: Any, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^what would be written has a fault:") as caught:
        dump_policy(policy)
    (told,) = caught.value.faults
    assert told.startswith(fault)


def test_what_would_load_as_another_policy_is_not_dumped() -> None:
    with pytest.raises(ConfigurationError, match="an AnyOf cannot stand in a policy file"):
        dump_policy(AnyOf([ENTERPRISE]))


def test_a_name_that_is_no_text_is_not_dumped() -> None:
    with pytest.raises(ConfigurationError, match="half a character cannot stand in a file"):
        dump_policy(Enterprise(["contoso.com"], CONTOSO.authority("\ud83d CA")))


def test_the_dates_of_what_was_dumped_do_not_matter() -> None:
    """A policy file is about trust, whatever the time: it can be written of CAs that have ended."""
    assert make_leaf is not None
    old = CertificateAuthority("Old CA", not_after=NOW.replace(year=2001))
    assert "[enterprise]" in dump_policy(Enterprise(["contoso.com"], old.authority()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            OURS + 'trusted_servers = ["edge.fabrikam.com"]\n',
            "enterprise.trusted_servers: edge.fabrikam.com is below none of our domains",
        ),
        (
            'blocked = ["contoso.com"]\n' + OURS,
            "blocked: contoso.com would block our own contoso.com",
        ),
        ('blocked = ["com"]\n' + OURS, "blocked: com would block our own contoso.com"),
    ],
)
def test_what_could_never_work_is_a_fault(folder: Path, text: str, expected: str) -> None:
    (fault,) = faults(folder, text)
    assert fault.startswith(expected)


def test_a_part_of_ours_and_a_partner_may_be_blocked(folder: Path) -> None:
    text = 'blocked = ["old.contoso.com", "fabrikam.com"]\n' + OURS + THEIRS
    assert_refuses(load(folder, text), FABRIKAM.issue("sip:fabrikam.com"), "partner.blocked")


def test_a_mark_of_the_byte_order_is_no_fault(folder: Path) -> None:
    """As Windows' editors write it."""
    assert load(folder, "\ufeff" + OURS) == ENTERPRISE


def test_a_preset_that_is_nearly_right_is_guessed(folder: Path) -> None:
    (fault,) = faults(folder, OURS + 'names = "rfc9525"\n')
    assert fault.endswith("; is RFC9525 meant?")


# ---------------------------------------------------------------- the file in the documentation

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "policy-file.md"
FILES = dict(re.findall(r"```toml\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
OURS_SAID = ENTERPRISE & TrustedServers(
    ["edge.contoso.com", "pool.contoso.com"],
    relays={"edge.contoso.com": ["fabrikam.com", "litware.com"]},
)
LISTED_SAID = [
    evolve(PARTNER, edge="sip.fabrikam.com"),
    Partner(
        ["litware.com", "litware.example"],
        Authority.public(),
        edge="sip.hoster.example",
        verification=Verification.USE_SOURCE,
        limits=TrafficLimits(messages_per_second=50, burst=100),
    ),
]
ANY_RELAY = evolve(OURS_SAID.condition, relays={"edge.contoso.com": ["*"]})


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("closed.toml", OURS_SAID | Federation(LISTED_SAID)),
        (
            "discovering.toml",
            ENTERPRISE & ANY_RELAY
            | Federation.discovering(
                LISTED_SAID[:1],
                Authority.public(),
                own=["contoso.com", "contoso.net"],
                names=NameRules.OCS,
            ),
        ),
        (
            "open.toml",
            Federation.open(
                Authority.public(),
                own=["contoso.com"],
                limits=TrafficLimits(messages_per_second=5, connections=2),
            )
            & Blocked(["evil.example"]),
        ),
    ],
)
def test_the_three_modes_in_the_docs_are_what_they_are_said_to_be(
    folder: Path, name: str, policy: Any
) -> None:
    (folder / "contoso-ca.pem").write_bytes(CONTOSO.pem)
    (folder / "fabrikam-ca.pem").write_bytes(FABRIKAM.pem)
    assert load(folder, FILES[name]) == policy


@pytest.mark.parametrize(
    "kind", [FileTable, EnterpriseTable, PartnerTable, DiscoveryTable, TrafficLimits]
)
def test_every_key_is_in_the_docs(kind: Any) -> None:
    rows = re.findall(r"^\| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    written = {key for row in rows for key in re.findall(r"`\[*(\w+)\]*`", row)}
    assert {one.name for one in attrs.fields(kind)} <= written


def test_a_key_that_nobody_knows_forges_no_line(folder: Path) -> None:
    [fault] = faults(folder, OURS + '"x\\u001b[2J\\ntrusted: \\u202e" = 1\n')
    assert fault.startswith("enterprise.x\\u001b[2J\\u000atrusted: \\u202e: unknown key")
    assert fault.isprintable()
