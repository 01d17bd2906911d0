"""A policy as a file: what is read, every fault at once, and back again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import evolve
from certificates import NOW, make_leaf
from cryptography.hazmat.primitives.serialization import Encoding

from siptls import (
    AnyDomain,
    Authority,
    Blocked,
    ConfigurationError,
    Enterprise,
    Federation,
    KeyPurposes,
    NameRules,
    Partner,
    Pinned,
    Revocation,
    TrustedServers,
    dump_policy,
    load_policy,
)
from siptls.testing import CertificateAuthority, assert_accepts, assert_refuses
from siptls.trust.policy import AnyOf

CONTOSO = CertificateAuthority("Contoso CA", seed="file")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="file")
OURS = '[enterprise]\ndomains = ["contoso.com"]\nauthority = "contoso.pem"\n'
THEIRS = '[[partner]]\ndomains = ["fabrikam.com"]\nauthority = "fabrikam.pem"\n'

CRL, NEXT_CRL = CONTOSO.crl(), CONTOSO.crl(number=2)
RESPONSE = CONTOSO.ocsp(CONTOSO.issue("sip:contoso.com"))


def looking_up(*crls: bytes, **options: Any) -> Any:
    revocation = Revocation(crls, **options)
    return Enterprise(["contoso.com"], CONTOSO.authority(revocation=revocation))


ENTERPRISE = Enterprise(["contoso.com"], CONTOSO.authority())
PARTNER = Partner(["fabrikam.com"], FABRIKAM.authority())
FEDERATION = Federation([PARTNER])


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
            "enterprise.blocked: unknown key; known are domains, authority, authority_name, names,"
            " purposes, revocation, revocation_scope, crls, ocsp, trusted_servers",
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
        ("", "an [enterprise] or a [[partner]] is wanted: nobody is believed"),
        ("enterprise = 1\n", "enterprise: a table is wanted, not 1"),
        ("partner = {}\n", "partner: tables are wanted, each as [[partner]], not {}"),
        ("colour = 1\n" + OURS, "colour: unknown key; known are blocked, enterprise, partner"),
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
        + "[[partner]]\ncolour = 1\n"
    )
    keys = [fault.split(":")[0] for fault in faults(folder, text)]
    assert sorted(keys) == [
        "blocked",
        "colour",
        "enterprise.authority",
        "enterprise.names",
        "enterprise.purposes",
        "enterprise.trusted_servers",
        "partner[0].authority",
        "partner[0].domains",
        "partner[1].authority",
        "partner[1].colour",
        "partner[1].domains",
    ]


def test_every_faulty_domain_of_a_list_is_told(folder: Path) -> None:
    text = OURS.replace('"contoso.com"', '"*.contoso.com", "contoso.com", "10.0.0.1"')
    assert [fault.split(" is no")[0] for fault in faults(folder, text)] == [
        "enterprise.domains: '*.contoso.com'",
        "enterprise.domains: '10.0.0.1'",
    ]


@pytest.mark.parametrize("data", [b"[enterprise", b"\xff\xfe", b"a = 1\na = 2\n"])
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
]


@pytest.mark.parametrize("policy", DUMPABLE)
def test_what_is_dumped_loads_as_an_equal_policy(tmp_path: Path, policy: Any) -> None:
    text = dump_policy(policy)
    assert text.isascii()
    assert load(tmp_path, text) == policy
    assert dump_policy(load_policy(tmp_path / "policy.toml")) == text


class Source:
    """A cache that has nothing."""

    def known(self, *_: Any) -> list[bytes]:
        return []


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
        (Federation([PARTNER], blocked=["a.com"]), "a Federation cannot stand"),
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
    ],
)
def test_what_no_file_can_have_is_not_dumped(policy: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        dump_policy(policy)


def subclass(value: Any) -> Any:
    """Give the same as a subclass, which may ask for more than its base."""
    kind = type(value)
    fields = {one.alias: getattr(value, one.name) for one in attrs.fields(kind) if one.init}
    return type("Stricter", (kind,), {})(**fields)


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
