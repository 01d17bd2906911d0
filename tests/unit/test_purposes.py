"""KeyPurposes: for what a certificate must be meant, and of whom that is asked."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from certificates import Made, make, make_ca, make_leaf, purposes
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from paths import NAME, path, refusal, trusting

from siptls import Code, ConfigurationError, KeyPurposes, Role
from siptls.trust.purposes import is_server_only, purpose, purposes_of

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SIP_DOMAIN = ObjectIdentifier("1.3.6.1.5.5.7.3.20")
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
UNRELATED = ExtendedKeyUsageOID.CODE_SIGNING
STRICT = KeyPurposes("STRICT", server=[SERVER], client=[CLIENT], absent=False)

BOTH, NEITHER = set(Role), set[Role]()


def meant_for(*usages: ObjectIdentifier) -> x509.Certificate:
    """Give a certificate with this EKU; without the extension for none."""
    return make("leaf", None, *([purposes(*usages)] if usages else [])).certificate


@pytest.mark.parametrize(
    ("usages", "sip", "role", "rfc5924", "strict"),
    [
        ((), BOTH, BOTH, BOTH, NEITHER),
        ((SERVER,), BOTH, {Role.SERVER}, NEITHER, {Role.SERVER}),
        ((CLIENT,), BOTH, {Role.CLIENT}, NEITHER, {Role.CLIENT}),
        ((SERVER, CLIENT), BOTH, BOTH, NEITHER, BOTH),
        ((SIP_DOMAIN,), BOTH, NEITHER, BOTH, NEITHER),
        ((ANY,), BOTH, BOTH, BOTH, NEITHER),
        ((UNRELATED, SERVER), BOTH, {Role.SERVER}, NEITHER, {Role.SERVER}),
        ((UNRELATED, SIP_DOMAIN), BOTH, NEITHER, BOTH, NEITHER),
        ((UNRELATED,), NEITHER, NEITHER, NEITHER, NEITHER),
        ((UNRELATED, ExtendedKeyUsageOID.EMAIL_PROTECTION), NEITHER, NEITHER, NEITHER, NEITHER),
    ],
)
def test_one_purpose_that_is_asked_for_suffices(
    usages: tuple[ObjectIdentifier, ...],
    sip: set[Role],
    role: set[Role],
    rfc5924: set[Role],
    strict: set[Role],
) -> None:
    """In SIP serverAuth alone is good for a client: public CAs issue no other."""
    leaf = meant_for(*usages)
    for asked, good in (
        (KeyPurposes.SIP, sip),
        (KeyPurposes.ROLE, role),
        (KeyPurposes.RFC5924, rfc5924),
        (STRICT, strict),
    ):
        assert {role for role in Role if asked.fault(leaf, role) is None} == good


@pytest.mark.parametrize(
    ("asked", "role", "usages", "found", "expected"),
    [
        (
            KeyPurposes.SIP,
            Role.CLIENT,
            (UNRELATED,),
            f"has EKU {UNRELATED.dotted_string} only",
            "EKU with one of any, clientAuth, serverAuth, sipDomain, or none:"
            " SIP asks for it of a client",
        ),
        (
            KeyPurposes.ROLE,
            Role.SERVER,
            (CLIENT, SIP_DOMAIN),
            "has EKU clientAuth, sipDomain only",
            "EKU with one of any, serverAuth, or none: ROLE asks for it of a server",
        ),
        (
            STRICT,
            Role.SERVER,
            (ANY,),
            "has EKU any only",
            "EKU with one of serverAuth: STRICT asks for it of a server",
        ),
        (
            STRICT,
            Role.CLIENT,
            (),
            "has no EKU at all",
            "EKU with one of clientAuth: STRICT asks for it of a client",
        ),
    ],
)
def test_a_fault_says_what_was_found_and_what_is_asked_for(
    asked: KeyPurposes,
    role: Role,
    usages: tuple[ObjectIdentifier, ...],
    found: str,
    expected: str,
) -> None:
    fault = asked.fault(meant_for(*usages), role)
    assert fault is not None
    assert fault.code is Code.PURPOSE_UNACCEPTABLE
    assert fault.about.startswith("CN=leaf (serial ")
    assert (fault.found, fault.expected) == (found, expected)
    assert fault.rule == f"RFC 5280 §4.2.1.12, KeyPurposes {asked.name}"


def test_a_stranger_cannot_fill_the_log_with_purposes() -> None:
    usages = [ObjectIdentifier(f"1.2.3.{number}") for number in range(300)]
    fault = KeyPurposes.SIP.fault(meant_for(*usages), Role.CLIENT)
    assert fault is not None
    assert fault.found.endswith("1.2.3.7 and 292 more only")


@pytest.mark.parametrize("role", Role)
def test_a_ca_without_purposes_is_not_limited_and_one_with_others_is(role: Role) -> None:
    """RFC 5280 §4.2.1.12: that a peer must show an EKU says nothing about its CA."""
    bare = make_ca("CA").certificate
    assert STRICT.fault(bare, role, is_ca=True) is None
    assert STRICT.fault(bare, role) is not None
    other = make_ca("CA", None, purposes(UNRELATED)).certificate
    assert STRICT.fault(other, role, is_ca=True) is not None


@pytest.mark.parametrize(
    ("text", "oid"),
    [
        ("serverAuth", SERVER),
        ("clientAuth", CLIENT),
        ("sipDomain", SIP_DOMAIN),
        ("any", ANY),
        ("1.3.6.1.4.1.99999.1", ObjectIdentifier("1.3.6.1.4.1.99999.1")),
        ("1.3.6.1.5.5.7.3.1", SERVER),
        (UNRELATED, UNRELATED),
    ],
)
def test_a_purpose_is_a_name_or_an_object_identifier(
    text: str | ObjectIdentifier, oid: ObjectIdentifier
) -> None:
    assert purpose(text) == oid
    mine = KeyPurposes("mine", server=[text], client=["any"])
    assert (mine.wanted(Role.SERVER), mine.wanted(Role.CLIENT)) == ({oid}, {ANY})


def test_a_purpose_of_your_own_is_asked_for() -> None:
    mine = KeyPurposes("mine", server=["serverAuth"], client=["1.3.6.1.4.1.99999.1"])
    device = meant_for(ObjectIdentifier("1.3.6.1.4.1.99999.1"))
    assert mine.fault(device, Role.CLIENT) is None
    assert mine.fault(device, Role.SERVER) is not None
    assert mine.fault(meant_for(), Role.CLIENT) is None


@pytest.mark.parametrize("wrong", ["", "serverauth", "server", "1", "1.2.", "x.509", 7, None, []])
def test_what_is_no_purpose_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no purpose: write serverAuth, clientAuth"):
        KeyPurposes("mine", server=["any"], client=[wrong])


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("serverAuth", r"purposes are a list: write \['serverAuth'\], not 'serverAuth'"),
        ([], "without any purpose would be good for nobody"),
    ],
)
@pytest.mark.parametrize("role", ["server", "client"])
def test_purposes_are_a_list_and_never_empty(role: str, wrong: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        evolve(KeyPurposes.SIP, **{role: wrong})


@pytest.mark.parametrize("preset", [KeyPurposes.SIP, KeyPurposes.ROLE, KeyPurposes.RFC5924])
def test_the_presets_are_known_by_name_and_are_values(preset: KeyPurposes) -> None:
    assert getattr(KeyPurposes, preset.name) is preset
    same = KeyPurposes(preset.name, server=sorted(preset.server, key=str), client=preset.client)
    assert same == evolve(preset) == preset
    assert hash(same) == hash(preset)
    assert "'any'" in repr(preset)
    assert "<ObjectIdentifier" not in repr(preset)
    assert preset.absent
    assert evolve(preset, absent=False) != preset


# ---------------------------------------------------------------- on a path


@pytest.fixture(scope="module")
def root() -> Made:
    """A trust anchor as bare as RFC 5280 allows: no key identifiers, no keyUsage."""
    return make_ca("Root")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("usages", "good"),
    [
        (None, True),
        ((SERVER,), True),
        ((CLIENT,), True),
        ((SIP_DOMAIN,), True),
        ((ANY,), True),
        ((UNRELATED, SERVER), True),
        ((UNRELATED,), False),
        ((UNRELATED, ExtendedKeyUsageOID.EMAIL_PROTECTION), False),
    ],
)
@pytest.mark.parametrize("where", ["leaf", "intermediate"])
def test_the_purposes_of_sip(
    root: Made,
    role: Role,
    usages: tuple[ObjectIdentifier, ...] | None,
    good: bool,
    where: str,
) -> None:
    """A certificate with serverAuth only is good for a client: public CAs issue no other."""
    usage = [] if usages is None else [purposes(*usages)]
    intermediate = make_ca("I", root, *(usage if where == "intermediate" else []))
    leaf = make_leaf(intermediate, NAME, more=usage if where == "leaf" else [])
    if good:
        assert len(path(trusting(root), leaf, intermediate, role=role)) == 3
    else:
        code, reason = refusal(trusting(root), leaf, intermediate, role=role)
        assert code is Code.PURPOSE_UNACCEPTABLE
        assert reason.startswith("CN=leaf " if where == "leaf" else "CN=I ")
        wanted = "any, clientAuth, serverAuth, sipDomain, or none"
        assert f"expected EKU with one of {wanted}: SIP asks for it of a {role}" in reason


@pytest.mark.parametrize(
    ("role", "usages", "why"),
    [
        (Role.SERVER, (SERVER,), None),
        (Role.CLIENT, (CLIENT,), None),
        (
            Role.SERVER,
            (CLIENT,),
            "has EKU clientAuth only; expected EKU with one of serverAuth: STRICT asks",
        ),
        (
            Role.CLIENT,
            (SERVER,),
            "has EKU serverAuth only; expected EKU with one of clientAuth: STRICT asks",
        ),
        (Role.CLIENT, (UNRELATED,), f"EKU {UNRELATED.dotted_string} only; expected"),
        (Role.CLIENT, None, "has no EKU at all; expected EKU with one of clientAuth: STRICT asks"),
    ],
)
def test_purposes_of_your_own(
    root: Made, role: Role, usages: tuple[ObjectIdentifier, ...] | None, why: str | None
) -> None:
    """Each role has its own; `absent` says whether a leaf without EKU is good. A CA without is."""
    intermediate = make_ca("I", root)
    usage = [] if usages is None else [purposes(*usages)]
    chain = make_leaf(intermediate, NAME, more=usage), intermediate
    authority = trusting(root, purposes=STRICT)
    if why is None:
        assert len(path(authority, *chain, role=role)) == 3
    else:
        code, reason = refusal(authority, *chain, role=role)
        assert code is Code.PURPOSE_UNACCEPTABLE
        assert why in reason


def test_the_purposes_of_an_intermediate_follow_the_role(root: Made) -> None:
    intermediate = make_ca("I", root, purposes(SERVER))
    chain = make_leaf(intermediate, NAME, more=[purposes(SERVER, CLIENT)]), intermediate
    authority = trusting(root, purposes=STRICT)
    assert len(path(authority, *chain, role=Role.SERVER)) == 3
    assert refusal(authority, *chain, role=Role.CLIENT)[0] is Code.PURPOSE_UNACCEPTABLE


@pytest.mark.parametrize(
    ("usages", "told"),
    [
        ((), None),
        ((SERVER, CLIENT), ("serverAuth", "clientAuth")),
        ((SIP_DOMAIN, ANY, UNRELATED), ("sipDomain", "any", "1.3.6.1.5.5.7.3.3")),
    ],
)
def test_what_a_certificate_is_meant_for_is_told_in_its_order(
    usages: tuple[ObjectIdentifier, ...], told: tuple[str, ...] | None
) -> None:
    assert purposes_of(meant_for(*usages)) == told


@pytest.mark.parametrize(
    ("usages", "is_so"),
    [((SERVER,), True), ((SERVER, CLIENT), False), ((CLIENT,), False), ((), False)],
)
def test_what_public_cas_issue_is_for_servers_only(
    usages: tuple[ObjectIdentifier, ...], is_so: bool
) -> None:
    assert is_server_only(meant_for(*usages)) is is_so


def test_what_cannot_be_decoded_is_not_for_servers_only() -> None:
    oid = bytes.fromhex("06082b06010505070301")
    der = meant_for(SERVER).public_bytes(Encoding.DER)
    assert oid in der
    assert not is_server_only(x509.load_der_x509_certificate(der.replace(oid, b"\x0c" + oid[1:])))
