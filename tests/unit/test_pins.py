"""Pinned: a certificate, or a key, that is known beforehand speaks for a name; no CA does."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from attrs import evolve
from certificates import NOW, SECOND, YEAR, Made, make, make_ca, make_leaf, raw, show
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from siptls import (
    Authority,
    BelievedName,
    Code,
    ConfigurationError,
    Decision,
    Enterprise,
    Federation,
    NameKind,
    NameRules,
    Partner,
    Peer,
    Pinned,
    ReferenceIdentity,
    Trust,
)
from siptls.trust.policy import judge

NAME = "sip.contoso.com"


@pytest.fixture(scope="module")
def root() -> Made:
    return make_ca("Contoso CA")


@pytest.fixture(scope="module")
def leaf(root: Made) -> Made:
    return make_leaf(root, "sip:contoso.com", NAME)


@pytest.fixture(scope="module")
def device() -> Made:
    """Self-signed, and nobody by its own account."""
    return make("device")


@pytest.fixture(scope="module")
def stranger() -> Made:
    return make_leaf(make_ca("Stranger"), "sip:contoso.com", NAME)


@pytest.fixture(scope="module")
def enterprise(root: Made) -> Enterprise:
    return Enterprise(["contoso.com"], Authority("Contoso", [root.certificate]))


def pin(made: Made) -> str:
    return Pinned.certificate_pin(made.certificate)


def key_pin(made: Made) -> str:
    return Pinned.key_pin(made.certificate)


# ---------------------------------------------------------------- pins


def test_a_pin_is_the_digest_of_the_certificate_or_of_its_key(leaf: Made) -> None:
    der = leaf.certificate.public_bytes(Encoding.DER)
    spki = leaf.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert pin(leaf) == f"sha256:{hashlib.sha256(der).hexdigest()}"
    assert key_pin(leaf) == f"sha256:{hashlib.sha256(spki).hexdigest()}"


@given(st.binary(min_size=32, max_size=32))
def test_a_pin_may_be_written_in_four_ways(digest: bytes) -> None:
    written = [
        f"sha256:{digest.hex()}",
        f"sha256:{digest.hex().upper()}",
        f"sha256:{digest.hex(':')}",
        f"sha256:{base64.b64encode(digest).decode()}",
    ]
    policies = {Pinned({NAME: [text]}) for text in written}
    assert len(policies) == 1
    assert policies.pop().pins == {NAME: {digest}}


HEX = "5f" * 32


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        HEX,
        "sha256:",
        f"sha256:{HEX}00",
        f"sha256:{HEX[:-2]}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX[:-1]}g",
        f"sha1:{HEX}",
        f"SHA256:{HEX}",
        f"sha256:sha256:{HEX}",
        "sha256:" + base64.b64encode(bytes(31)).decode(),
        "sha256:" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "sha256:" + base64.b64encode(bytes(32)).decode() + "\n",
        "sha256:b\xfccher",
        f"sha256:{HEX * 100}",
        "sha256:\ud800",
        bytes(31),
        HEX.encode(),
        7,
        None,
    ],
)
def test_what_is_no_pin_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="a pin is 'sha256:' and 64") as caught:
        Pinned({NAME: [wrong]})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({}, "Pinned without a pin could believe nobody"),
        ({NAME: []}, f"'{NAME}' has no pin: give one, or leave the name out"),
        ({NAME: f"sha256:{HEX}"}, f"the pins of '{NAME}' are a list: write"),
        ({NAME: bytes(32)}, f"the pins of '{NAME}' are a list: write"),
        ({NAME: None}, f"the pins of '{NAME}' are a list, not None"),
        ({NAME: 7}, f"the pins of '{NAME}' are a list, not an int"),
        ({"*.contoso.com": [f"sha256:{HEX}"]}, "is no domain"),
        ({"192.0.2.1": [f"sha256:{HEX}"]}, "is no domain"),
        ({None: [f"sha256:{HEX}"]}, "a domain is a str"),
        ([f"sha256:{HEX}"], "pins are a mapping: .*, not list"),
        (None, "pins are a mapping: .*, not NoneType"),
    ],
)
def test_pins_are_a_mapping_from_names_to_lists(wrong: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        Pinned(wrong)


def test_pins_are_a_value(leaf: Made, device: Made) -> None:
    policy = Pinned({"Sip.Contoso.com": [pin(leaf)], "b\xfccher.example": (key_pin(device),)})
    same = Pinned({"xn--bcher-kva.example": {key_pin(device)}, NAME: [pin(leaf), pin(leaf)]})
    assert evolve(policy) == policy == same
    assert hash(evolve(policy)) == hash(policy) == hash(same)
    assert policy != Pinned({NAME: [pin(leaf)]})
    assert evolve(policy, pins={NAME: [pin(leaf)]}) == Pinned({NAME: [pin(leaf)]})


def test_a_name_that_is_written_twice_has_the_pins_of_both(leaf: Made, device: Made) -> None:
    policy = Pinned({NAME: [pin(leaf)], NAME.upper(): [pin(device)]})
    assert policy == Pinned({NAME: [pin(leaf), pin(device)]})


# ---------------------------------------------------------------- a policy


@pytest.mark.parametrize("make_pin", [pin, key_pin])
@pytest.mark.parametrize("role", ["server", "client"])
def test_who_shows_what_is_pinned_is_believed_whatever_its_names(
    device: Made, make_pin: Any, role: str
) -> None:
    """A device with a self-signed certificate is trusted for what it is."""
    policy = Pinned({"phone.contoso.com": [make_pin(device)]})
    assert policy.authorities == frozenset()
    for expected in (None, "phone.contoso.com", "sip:7@Phone.contoso.com"):
        decision = judge(policy, show(device, role=role, reference=expected))
        assert decision.peer is not None
        (name,) = decision.peer.names
        assert (name.name, name.kind, name.authority) == ("phone.contoso.com", NameKind.PIN, "pin")
        assert (name.domain, name.host, name.trust) == (True, True, Trust.PINNED)
        assert decision.peer.chain == (device.certificate,)
        assert decision.peer.expires == device.certificate.not_valid_after_utc
        assert decision.reason == "its certificate is pinned to phone.contoso.com"
        assert decision.by == "Pinned"


def test_no_presented_name_is_believed_and_no_user(root: Made) -> None:
    leaf = make_leaf(root, "sip:contoso.com", "sip:bob@contoso.com")
    peer = Pinned({"a.example": [pin(leaf)]}).evaluate(show(leaf, root)).peer
    assert peer is not None
    assert (peer.domains, peer.users) == ({"a.example"}, frozenset())
    assert peer.chain == (leaf.certificate,)


def test_a_name_has_a_second_pin_for_the_certificate_that_is_to_come(
    leaf: Made, device: Made, stranger: Made
) -> None:
    policy = Pinned({NAME: [pin(leaf), key_pin(device)]})
    assert policy.evaluate(show(leaf)).accepted
    assert policy.evaluate(show(device)).accepted
    assert policy.evaluate(show(stranger)).code == Code.PIN_MISMATCH


def test_a_pinned_certificate_that_is_sent_along_proves_nothing(
    enterprise: Enterprise, root: Made, leaf: Made
) -> None:
    """Anybody may send it: it is the leaf whose key the peer has proven to hold."""
    for pinned in (root, make_leaf(root, "sip:contoso.com")):
        pins = {"contoso.com": [pin(pinned), key_pin(pinned)]}
        for policy in (Pinned(pins), enterprise & Pinned(pins)):
            assert policy.evaluate(show(leaf, pinned)).code == Code.PIN_MISMATCH
            assert policy.evaluate(show(pinned, leaf)).accepted is (
                pinned is not root or isinstance(policy, Pinned)
            )
    fault = Pinned({NAME: [pin(root)]}).evaluate(show(leaf, root)).fault
    assert fault is not None
    assert fault.about.startswith("CN=leaf ")
    assert pin(leaf) in fault.found


def test_a_renewed_certificate_keeps_the_pin_of_its_key_only(root: Made, leaf: Made) -> None:
    renewed = make_leaf(root, "sip:contoso.com", NAME, key=leaf.key)
    assert Pinned({NAME: [key_pin(leaf)]}).evaluate(show(renewed)).accepted
    assert Pinned({NAME: [pin(leaf)]}).evaluate(show(renewed)).code == Code.PIN_MISMATCH


def test_one_certificate_may_be_pinned_to_several_names(leaf: Made, device: Made) -> None:
    policy = Pinned({"b.example": [pin(leaf)], "a.example": [key_pin(leaf)], NAME: [pin(device)]})
    decision = policy.evaluate(show(leaf))
    assert decision.peer is not None
    assert decision.peer.domains == decision.peer.hosts == {"a.example", "b.example"}
    assert decision.reason == "its certificate is pinned to a.example, b.example"


@pytest.mark.parametrize(
    ("expected", "accepted"),
    [
        (ReferenceIdentity("a.example"), True),
        (ReferenceIdentity("contoso.com", "a.example"), True),
        (ReferenceIdentity("contoso.com", NAME), False),
        (ReferenceIdentity("b.example"), False),
        (ReferenceIdentity("example"), False),
        (ReferenceIdentity("x.a.example"), False),
        (ReferenceIdentity.for_address("192.0.2.1"), False),
    ],
)
def test_the_pin_is_that_of_the_expected_name_or_of_its_host(
    leaf: Made, device: Made, expected: ReferenceIdentity, accepted: bool
) -> None:
    policy = Pinned({"a.example": [pin(leaf)], "b.example": [pin(device)]})
    decision = judge(policy, show(leaf, role="server", reference=expected))
    assert decision.accepted is accepted
    assert decision.code == (Code.ACCEPTED if accepted else Code.PIN_MISMATCH)


@pytest.mark.parametrize(
    ("expected", "wanted"),
    [
        (None, "what is pinned to a.example, b.example"),
        (ReferenceIdentity("b.example"), "what is pinned to b.example"),
        (ReferenceIdentity("x.example", "b.example"), "what is pinned to b.example"),
        (ReferenceIdentity("x.example"), "a pin for x.example"),
        (ReferenceIdentity.for_address("192.0.2.1"), "a pin for the address 192.0.2.1"),
    ],
)
def test_a_mismatch_tells_both_pins_for_whoever_may_add_one(
    leaf: Made, device: Made, expected: ReferenceIdentity | None, wanted: str
) -> None:
    policy = Pinned({"b.example": [pin(device)], "a.example": [pin(device)]})
    fault = policy.evaluate(show(leaf, reference=expected)).fault
    assert fault is not None
    assert fault.found == f"has {pin(leaf)}, and its key {key_pin(leaf)}"
    assert (fault.expected, fault.rule) == (wanted, "Pinned")
    assert fault.about.startswith("CN=leaf ")


@pytest.mark.parametrize(
    ("options", "now", "code"),
    [
        ({}, NOW + YEAR, Code.ACCEPTED),
        ({}, NOW + YEAR + SECOND, Code.PATH_EXPIRED),
        ({}, NOW - YEAR - SECOND, Code.PATH_NOT_YET_VALID),
        ({"key": ec.generate_private_key(ec.SECP224R1())}, NOW, Code.PATH_WEAK_KEY),
    ],
)
def test_a_pinned_certificate_must_still_be_of_use(
    options: dict[str, Any], now: Any, code: Code
) -> None:
    made = make("device", **options)
    for pinned in (pin(made), key_pin(made)):
        assert Pinned({NAME: [pinned]}).evaluate(show(made, now=now)).code == code


def test_an_expired_certificate_that_is_not_pinned_is_a_mismatch(leaf: Made, device: Made) -> None:
    decision = Pinned({NAME: [pin(device)]}).evaluate(show(leaf, now=NOW + 2 * YEAR))
    assert decision.code == Code.PIN_MISMATCH


def test_what_cannot_be_read_is_refused_before_its_pin_is_looked_at() -> None:
    broken = make("device", None, raw("2.5.29.17", b"\x05\x00", critical=False))
    policy = Pinned({NAME: [pin(broken), key_pin(broken)]})
    for decision, code in (
        (policy.evaluate(show()), Code.CERTIFICATE_MISSING),
        (policy.evaluate(show(broken)), Code.CERTIFICATE_MALFORMED),
        (policy.evaluate(show(broken, broken, max_certificates=1)), Code.PATH_LIMIT),
    ):
        assert (decision.code, decision.by, decision.concerned) == (code, "Pinned", True)


@pytest.mark.parametrize(
    ("names", "expected", "concerned"),
    [
        ([f"sip:{NAME}"], None, True),
        ([NAME], None, True),
        (["sip:contoso.com"], None, False),
        (["sip:x.sip.contoso.com"], None, False),
        (["sip:nobody.example"], NAME, True),
        (["sip:nobody.example"], ReferenceIdentity("contoso.com", NAME), True),
        (["sip:nobody.example"], "contoso.com", False),
        ([], None, False),
    ],
)
def test_a_mismatch_is_told_if_a_pinned_name_is_presented_or_expected(
    device: Made, root: Made, names: list[str], expected: Any, concerned: bool
) -> None:
    """Else it says nothing, and what another policy found is told."""
    policy = Pinned({NAME: [pin(device)]})
    evidence = show(make_leaf(make_ca("Stranger"), *names), reference=expected)
    decision = policy.evaluate(evidence)
    assert (decision.code, decision.concerned) == (Code.PIN_MISMATCH, concerned)
    partner = Partner(["fabrikam.com"], Authority("Fabrikam", [root.certificate]))
    told = (policy | Federation([partner])).evaluate(evidence)
    assert told.code == (Code.PIN_MISMATCH if concerned else Code.PARTNER_UNKNOWN)


@pytest.mark.parametrize("pinned", ["leaf", "device"])
def test_a_decision_holds_what_was_judged(
    leaf: Made, enterprise: Enterprise, pinned: str, request: pytest.FixtureRequest
) -> None:
    """As a policy and as a condition, whether it holds or not."""
    policy = Pinned({"contoso.com": [pin(request.getfixturevalue(pinned))]})
    evidence = show(leaf)
    assert policy.evaluate(evidence).evidence is evidence
    assert (enterprise & policy).evaluate(evidence).parts[-1].evidence is evidence


# ---------------------------------------------------------------- a condition


def restricted(enterprise: Enterprise, pins: dict[str, list[str]], evidence: Any) -> Decision:
    return (enterprise & Pinned(pins)).evaluate(evidence)


@pytest.mark.parametrize("make_pin", [pin, key_pin])
def test_a_pin_beside_a_ca_asks_for_both(
    enterprise: Enterprise, leaf: Made, stranger: Made, make_pin: Any
) -> None:
    pins = {"contoso.com": [make_pin(leaf), make_pin(stranger)]}
    assert restricted(enterprise, pins, show(leaf)).accepted
    assert restricted(enterprise, pins, show(stranger)).code == Code.PATH_UNKNOWN_CA
    pins = {"contoso.com": [make_pin(stranger)]}
    decision = restricted(enterprise, pins, show(leaf))
    assert decision.code == Code.PIN_MISMATCH
    assert decision.parts[-1].by == "Pinned"


def test_as_a_condition_it_adds_no_name(enterprise: Enterprise, leaf: Made) -> None:
    pins = {"contoso.com": [pin(leaf)], "fabrikam.com": [pin(leaf)]}
    free, decision = enterprise.evaluate(show(leaf)), restricted(enterprise, pins, show(leaf))
    assert decision.peer == free.peer
    assert free.peer is not None
    checked = Pinned(pins).check(free.peer, show(leaf))
    assert (checked.peer, checked.by) == (free.peer, "Pinned")
    assert checked.reason == "its certificate is pinned to contoso.com"
    expected = show(leaf, reference="fabrikam.com")
    assert restricted(enterprise, pins, expected).code == Code.NAME_MISMATCH
    assert Pinned(pins).check(free.peer, expected).code == Code.PIN_MISMATCH


@pytest.mark.parametrize(
    ("pinned", "expected", "accepted"),
    [
        ("contoso.com", None, True),
        ("contoso.com", ReferenceIdentity("contoso.com"), True),
        ("fabrikam.com", None, False),  # not believed of it
        (NAME, None, True),  # the name of the machine
        (NAME, ReferenceIdentity("contoso.com"), False),
        (NAME, ReferenceIdentity("contoso.com", NAME), True),
        ("contoso.com", ReferenceIdentity("fabrikam.com", NAME), False),
    ],
)
def test_the_pin_is_that_of_a_believed_name_and_of_the_expected_one(
    enterprise: Enterprise,
    leaf: Made,
    pinned: str,
    expected: ReferenceIdentity | None,
    accepted: bool,
) -> None:
    policy = evolve(enterprise, names=NameRules.OCS)
    evidence = show(leaf, reference=expected)
    assert policy.evaluate(evidence).accepted
    decision = restricted(policy, {pinned: [pin(leaf)]}, evidence)
    assert decision.code == (Code.ACCEPTED if accepted else Code.PIN_MISMATCH)


def test_as_a_condition_it_tells_what_it_cannot_read(leaf: Made) -> None:
    """A policy of a user's own may believe who showed nothing; that is no fault in the code."""
    broken = make("device", None, raw("2.5.29.17", b"\x05\x00", critical=False))
    peer = Peer([BelievedName(NAME)], (), NOW + YEAR)
    for evidence, code in (
        (show(), Code.CERTIFICATE_MISSING),
        (show(broken), Code.CERTIFICATE_MALFORMED),
    ):
        decision = Pinned({NAME: [pin(leaf), pin(broken)]}).check(peer, evidence)
        assert (decision.code, decision.by, decision.evidence) == (code, "Pinned", evidence)
