"""Revocation: whom is asked, what follows, and what a peer is told."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from certificates import NOW
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from statements import (
    CONTOSO,
    DAY,
    FABRIKAM,
    FRESH,
    FUTURE,
    LEAF,
    NAMESAKE,
    OTHER,
    STALE,
    VALID,
    certificate,
    responder,
)

from siptls import (
    Authority,
    Code,
    ConfigurationError,
    Decision,
    Enterprise,
    Evidence,
    Revocation,
    RevocationMode,
    RevocationScope,
    Role,
)
from siptls.testing import evidence
from siptls.trust import revocation as module
from siptls.trust.authority import ProvenPath
from siptls.trust.crl import Crl
from siptls.trust.ocsp import StatusResponse
from siptls.wire.credential import Credential

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "revocation.md"
PROMISES = CONTOSO.issue("sip:contoso.com", must_staple=True, common_name="promises", **VALID)
LOWER = CONTOSO.intermediate("Lower CA", **VALID)
BELOW = LOWER.issue("sip:contoso.com", **VALID)
SOFT = RevocationMode.SOFT


def judge(
    revocation: Revocation | None,
    shown: Credential = LEAF,
    staple: bytes | None = None,
    role: Role = Role.SERVER,
) -> ProvenPath | Decision:
    seen = evidence(shown, role, now=NOW, staple=staple)
    return CONTOSO.authority(revocation=revocation).verify(seen)


def code(result: ProvenPath | Decision) -> str:
    return str(result.code) if isinstance(result, Decision) else "accepted"


def reason(result: ProvenPath | Decision) -> str:
    assert isinstance(result, Decision), result
    assert result.fault is not None
    return result.reason


def proven(result: ProvenPath | Decision) -> ProvenPath:
    assert isinstance(result, ProvenPath), result
    return result


# ---------------------------------------------------------------- the table


@frozen
class Row:
    """What there is: made as a CRL, and as an OCSP response."""

    crl: Callable[[], bytes | None] | None = None
    ocsp: Callable[[], bytes | None] | None = None
    staple: Callable[[], bytes | None] | None = None
    leaf: Credential = LEAF

    def of(self, column: str) -> Callable[[], bytes | None] | None:
        if column == "CRL":
            return self.crl
        return self.staple or self.ocsp if column == "OCSP stapled" else self.ocsp


def only_stapled(make: Callable[[], bytes | None], leaf: Credential) -> Row:
    return Row(staple=make, leaf=leaf)


ROWS = {
    "good": Row(lambda: CONTOSO.crl([OTHER], **FRESH), lambda: CONTOSO.ocsp(LEAF, **FRESH)),
    "revoked": Row(
        lambda: CONTOSO.crl([LEAF], **FRESH),
        lambda: CONTOSO.ocsp(LEAF, status="revoked", **FRESH),
    ),
    "unknown": Row(None, lambda: CONTOSO.ocsp(LEAF, status="unknown", **FRESH)),
    "stale": Row(lambda: CONTOSO.crl(**STALE), lambda: CONTOSO.ocsp(LEAF, **STALE)),
    "stale, and revoked": Row(
        lambda: CONTOSO.crl([LEAF], **STALE),
        lambda: CONTOSO.ocsp(LEAF, status="revoked", **STALE),
    ),
    "not yet valid": Row(lambda: CONTOSO.crl(**FUTURE), lambda: CONTOSO.ocsp(LEAF, **FUTURE)),
    "wrong issuer": Row(lambda: FABRIKAM.crl(**FRESH), lambda: FABRIKAM.ocsp(LEAF, **FRESH)),
    "bad signature": Row(
        lambda: CONTOSO.crl(key=NAMESAKE.key, **FRESH),
        lambda: CONTOSO.ocsp(LEAF, key=NAMESAKE.key, **FRESH),
    ),
    "delegated responder without the EKU": Row(
        None, lambda: CONTOSO.ocsp(LEAF, responder=responder(purposes=["any"]), **FRESH)
    ),
    "other certID": Row(None, lambda: CONTOSO.ocsp(OTHER, **FRESH)),
    "cannot be read": only_stapled(lambda: b"?", LEAF),
    "must-staple, good, not stapled": Row(
        lambda: CONTOSO.crl(**FRESH), lambda: CONTOSO.ocsp(PROMISES, **FRESH), leaf=PROMISES
    ),
    "must-staple, stale": only_stapled(lambda: CONTOSO.ocsp(PROMISES, **STALE), PROMISES),
    "must-staple, good": only_stapled(lambda: CONTOSO.ocsp(PROMISES, **FRESH), PROMISES),
}


def table() -> dict[tuple[str, str, str], str]:
    """Read the table of the page: what there is, where, under which mode, and the code."""
    rows = [
        [cell.strip() for cell in line.strip("| \n").split(" | ")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| .*(`accepted`|, require|`path\.)", line)
    ]
    head, *body = rows
    places = [cell.split(", ") for cell in head[1:]]
    return {
        (name, column, mode): cell.strip("`")
        for name, *cells in body
        for (column, mode), cell in zip(places, cells, strict=True)
        if cell != "–"  # noqa: RUF001  as the page has it
    }


TABLE = table()
# What is made as an OCSP response there is not stapled, on purpose.
MISSING = ("must-staple, good, not stapled", "OCSP stapled")


def test_the_table_has_all_rows_and_columns() -> None:
    assert {name for name, _, _ in TABLE} == set(ROWS)
    columns = ("CRL", "OCSP given", "OCSP stapled")
    assert {(column, mode) for _, column, mode in TABLE} == {
        (column, mode) for column in columns for mode in ("require", "soft")
    }
    made = {(name, column) for name, row in ROWS.items() for column in columns if row.of(column)}
    assert {(name, column) for name, column, _ in TABLE} == made - {MISSING}


@pytest.mark.parametrize(("cell", "expected"), TABLE.items(), ids=map(str, TABLE))
def test_what_is_said_has_the_code_of_the_table(cell: tuple[str, str, str], expected: str) -> None:
    name, column, mode = cell
    make = ROWS[name].of(column)
    assert make is not None
    data = make()
    given: dict[str, Any] = {}
    if column != "OCSP stapled":
        given["crls" if column == "CRL" else "ocsp"] = data
    staple = data if column == "OCSP stapled" else None
    leaf = ROWS[name].leaf
    result = judge(Revocation(mode=mode, **given), leaf, staple)
    assert code(result) == expected
    if isinstance(result, ProvenPath):
        assert bool(result.notes) is (name not in {"good", "must-staple, good"})
    assert code(judge(Revocation(mode="off", **given), leaf, staple)) == "accepted"
    assert code(judge(None, leaf, staple)) == "accepted"


# ---------------------------------------------------------------- who is asked


@frozen(eq=False)
class Cache:
    """A source that has always the same; by identity, as a cache is."""

    has: tuple[object, ...]
    asked: list[tuple[x509.Certificate, x509.Certificate]]

    def known(self, certificate: x509.Certificate, issuer: x509.Certificate) -> Iterable[Any]:
        self.asked.append((certificate, issuer))
        return self.has


def cache(*has: object) -> Cache:
    return Cache(has, [])


@pytest.mark.parametrize("as_crl", [True, False])
@pytest.mark.parametrize("is_revoked", [True, False])
def test_a_source_is_asked_about_each_certificate(as_crl: bool, is_revoked: bool) -> None:
    lower = certificate(BELOW)
    has = (
        CONTOSO.crl(**FRESH),
        LOWER.crl([BELOW] if is_revoked else [], **FRESH)
        if as_crl
        else LOWER.ocsp(BELOW, status="revoked" if is_revoked else "good", **FRESH),
    )
    source = cache(*has)
    result = judge(Revocation(source=source), BELOW)
    assert code(result) == ("path.revoked" if is_revoked else "accepted")
    assert source.asked == [
        (lower, LOWER.certificate),
        (LOWER.certificate, CONTOSO.certificate),
    ]


@pytest.mark.parametrize(
    ("has", "told"),
    [
        (b"?", "what the source has cannot be read (error parsing asn1"),
        (None, "what the source has cannot be read ("),
        (CONTOSO.ocsp(OTHER, **FRESH), "what the source has is not about it"),
        (FABRIKAM.crl(**FRESH), "what the source has is not about it"),
        (CONTOSO.crl(**STALE), "is stale"),
    ],
)
def test_what_a_source_has_in_vain_is_no_answer(has: object, told: str) -> None:
    result = judge(Revocation(source=cache(has)))
    assert code(result) == "path.revocation-unknown"
    assert told in reason(result)


def test_a_source_that_fails_is_no_answer() -> None:
    class Failing:
        def known(self, *_: x509.Certificate) -> Iterable[bytes]:
            raise LookupError("no disk")

    result = judge(Revocation(source=Failing()))
    assert code(result) == "path.revocation-unknown"
    assert "the source failed (no disk)" in reason(result)
    (note,) = proven(judge(Revocation(mode=SOFT, source=Failing()))).notes
    assert "the source failed (no disk); accepted (soft)" in note


@pytest.mark.parametrize("is_revoked", [True, False])
def test_a_source_may_give_what_it_has_read_already(is_revoked: bool) -> None:
    """Nothing is read inside the handshake then, however long it is."""
    crl = Crl.read(CONTOSO.crl([LEAF] if is_revoked else [], **FRESH))
    response = StatusResponse.read(CONTOSO.ocsp(LEAF, **FRESH))
    module._read_known.cache_clear()
    result = judge(Revocation(source=cache(crl, response)))
    assert code(result) == ("path.revoked" if is_revoked else "accepted")
    assert module._read_known.cache_info().misses == 0
    assert crl.this_update == response.this_update == NOW - DAY


def test_an_answer_that_cannot_be_evaluated_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ``cryptography`` raises about a stranger's bytes."""

    def fail(*_: object) -> None:
        raise LookupError("odd")

    given = Revocation(CONTOSO.crl(**FRESH))
    monkeypatch.setattr(Crl, "answer", fail)
    assert "cannot be evaluated (odd)" in reason(judge(given))


GOOD_STAPLE = CONTOSO.ocsp(LEAF, **FRESH)


@pytest.mark.parametrize("mode", ["require", "soft"])
@pytest.mark.parametrize(
    "given",
    [
        {"crls": CONTOSO.crl([LEAF], **FRESH)},
        {"ocsp": CONTOSO.ocsp(LEAF, status="revoked", **FRESH)},
        {"source": cache(CONTOSO.crl([LEAF], **FRESH))},
        {"crls": [CONTOSO.crl(**FRESH), CONTOSO.crl([LEAF], number=2, **FRESH)]},
    ],
)
def test_who_says_revoked_is_believed_whatever_others_say(given: dict[str, Any], mode: str) -> None:
    result = judge(Revocation(mode=mode, **given), LEAF, GOOD_STAPLE)
    assert code(result) == "path.revoked"


@pytest.mark.parametrize("status", ["good", "unknown", "tryLater"])
def test_one_good_answer_is_enough(status: Any) -> None:
    staple = CONTOSO.ocsp(LEAF, status=status, **FRESH)
    crls = [CONTOSO.crl(**STALE), CONTOSO.crl(**FRESH), FABRIKAM.crl([LEAF], **FRESH)]
    result = proven(judge(Revocation(crls), LEAF, staple))
    assert result.notes == ()


# ---------------------------------------------------------------- what is told


def test_all_reasons_are_told_up_to_a_few() -> None:
    result = judge(
        Revocation(
            [CONTOSO.crl(**STALE), CONTOSO.crl(**FUTURE), CONTOSO.crl(number=None, **FRESH)],
            ocsp=CONTOSO.ocsp(OTHER, **FRESH),
            source=cache(b"?"),
        ),
        LEAF,
        CONTOSO.ocsp(OTHER, **FRESH),
    )
    text = reason(result)
    for told in (
        "CN=contoso.com (serial ",
        "has no status that is known: the stapled OCSP response is not about it",
        "none of the 1 given OCSP responses is about it",
        "what the source has cannot be read",
        "is stale",
        "and 2 more",
        "expected a good one in an OCSP response or a CRL that is valid and covers it",
    ):
        assert told in text


def test_that_nothing_is_there_is_told() -> None:
    result = judge(Revocation())
    assert "there is no CRL and no OCSP response" in reason(result)
    assert isinstance(result, Decision)
    assert "give the authority a current CRL" in result.advice


def test_that_no_crl_is_of_the_issuer_is_told_once() -> None:
    text = reason(judge(Revocation([FABRIKAM.crl(number=i, **FRESH) for i in range(9)])))
    assert text.count("CRL") == 2
    assert "none of the 9 given CRLs is of its issuer" in text


def test_a_note_tells_what_soft_has_let_pass() -> None:
    """It is among the notes of the decision, after those about names."""
    ours = Enterprise(["contoso.com"], CONTOSO.authority(revocation=Revocation(mode=SOFT)))
    decision = ours.evaluate(evidence(LEAF, now=NOW))
    assert decision.accepted
    assert "counts" in decision.notes[0]
    assert decision.notes[-1].endswith("there is no CRL and no OCSP response; accepted (soft)")
    assert "accepted (soft)" in decision.explain()


# ---------------------------------------------------------------- must-staple


def test_a_promised_staple_that_is_missing_is_told() -> None:
    for mode in (RevocationMode.REQUIRE, SOFT):
        result = judge(Revocation(CONTOSO.crl(**FRESH), mode=mode), PROMISES)
        assert "(must-staple), and the server sent none" in reason(result)


def test_a_client_need_not_staple() -> None:
    given = Revocation(CONTOSO.crl(**FRESH))
    assert code(judge(given, PROMISES, role=Role.CLIENT)) == "accepted"


def test_another_tls_feature_promises_nothing() -> None:
    feature = x509.TLSFeature([x509.TLSFeatureType.status_request_v2])
    leaf = CONTOSO.issue("sip:contoso.com", extensions=[(feature, False)], **VALID)
    assert code(judge(Revocation(CONTOSO.crl(**FRESH)), leaf)) == "accepted"


def test_what_is_revoked_is_told_before_what_is_not_stapled() -> None:
    assert code(judge(Revocation(CONTOSO.crl([PROMISES], **FRESH)), PROMISES)) == "path.revoked"


# ---------------------------------------------------------------- the path


def test_each_certificate_below_the_anchor_is_looked_up() -> None:
    both = [CONTOSO.crl(**FRESH), LOWER.crl(**FRESH)]
    assert code(judge(Revocation(both), BELOW)) == "accepted"
    for one in both:
        assert code(judge(Revocation(one), BELOW)) == "path.revocation-unknown"
        assert code(judge(Revocation(one, mode=SOFT), BELOW)) == "accepted"


def test_a_revoked_ca_is_told_before_an_unknown_leaf() -> None:
    result = judge(Revocation(CONTOSO.crl([LOWER.certificate], **FRESH)), BELOW)
    assert code(result) == "path.revoked"
    assert reason(result).startswith("CN=Lower CA")


def test_the_leaf_alone_is_looked_up_if_that_is_the_scope() -> None:
    revoked = [CONTOSO.crl([LOWER.certificate], **FRESH), LOWER.crl(**FRESH)]
    assert code(judge(Revocation(revoked), BELOW)) == "path.revoked"
    assert code(judge(Revocation(revoked, scope=RevocationScope.LEAF), BELOW)) == "accepted"
    leaf = Revocation(LOWER.crl([BELOW], **FRESH), scope="leaf")
    assert code(judge(leaf, BELOW)) == "path.revoked"


def test_a_staple_is_about_the_leaf_only() -> None:
    """Be it about the CA above."""
    staple = CONTOSO.ocsp(LOWER.certificate, **FRESH)
    result = judge(Revocation(LOWER.crl(**FRESH)), BELOW, staple)
    assert code(result) == "path.revocation-unknown"


def test_the_status_of_an_anchor_is_not_asked() -> None:
    crls = [CONTOSO.crl([CONTOSO.certificate, LOWER.certificate], **FRESH), LOWER.crl(**FRESH)]
    authority = Authority("Lower", [LOWER.certificate], revocation=Revocation(crls))
    seen = evidence(BELOW, now=NOW)
    assert proven(authority.verify(seen)).chain == (certificate(BELOW), LOWER.certificate)
    assert code(judge(Revocation(crls[0]))) == "accepted"


# ---------------------------------------------------------------- until when


@pytest.mark.parametrize(
    ("given", "staple", "expires"),
    [
        (Revocation(CONTOSO.crl(**FRESH)), None, NOW + DAY),
        (Revocation(CONTOSO.crl(**FRESH), mode=SOFT), None, VALID["not_after"]),
        (Revocation(CONTOSO.crl(**STALE), mode=SOFT), None, VALID["not_after"]),
        (
            Revocation(CONTOSO.crl(this_update=NOW, next_update=NOW + 999 * DAY)),
            None,
            VALID["not_after"],
        ),
        (
            Revocation(CONTOSO.crl(**FRESH)),
            CONTOSO.ocsp(LEAF, this_update=NOW, next_update=NOW + 2 * DAY),
            NOW + 2 * DAY,
        ),
    ],
)
def test_a_path_is_proven_until_its_status_ends(
    given: Revocation, staple: bytes | None, expires: dt.datetime
) -> None:
    """Of several good answers one is enough: so the last of them counts."""
    assert proven(judge(given, LEAF, staple)).expires == expires
    ours = Enterprise(["contoso.com"], CONTOSO.authority(revocation=given))
    decision = ours.evaluate(evidence(LEAF, now=NOW, staple=staple))
    assert decision.peer is not None
    assert decision.peer.expires == expires


def test_of_a_path_the_status_that_ends_first_counts() -> None:
    crls = [CONTOSO.crl(this_update=NOW, next_update=NOW + 3 * DAY), LOWER.crl(**FRESH)]
    assert proven(judge(Revocation(crls), BELOW)).expires == NOW + DAY


# ---------------------------------------------------------------- authorities


def test_authorities_with_the_same_anchors_do_not_share_answers() -> None:
    """They share the evidence, and what was concluded from it."""
    seen = evidence(LEAF, Role.SERVER, now=NOW)
    for given, expected in (
        (None, "accepted"),
        (Revocation(CONTOSO.crl([LEAF], **FRESH)), "path.revoked"),
        (Revocation(mode="off"), "accepted"),
        (Revocation(), "path.revocation-unknown"),
        (Revocation(CONTOSO.crl(**FRESH)), "accepted"),
        (Revocation(source=cache(CONTOSO.crl([LEAF], **FRESH))), "path.revoked"),
        (Revocation(source=cache(CONTOSO.crl(**FRESH))), "accepted"),
    ):
        assert code(CONTOSO.authority(revocation=given).verify(seen)) == expected


def test_authorities_with_equal_revocation_ask_once() -> None:
    """Thousands of partners may share a CA, and its CRLs."""
    source = cache(CONTOSO.crl(**FRESH))
    seen = evidence(LEAF, now=NOW)
    for name in ("one", "two"):
        authority = CONTOSO.authority(name, revocation=Revocation(source=source))
        assert proven(authority.verify(seen)).authority.name == name
    assert len(source.asked) == 1


def test_every_way_to_an_authority_takes_it() -> None:
    given = Revocation(CONTOSO.crl(**FRESH))
    assert Authority.from_pem("CA", CONTOSO.pem, revocation=given).revocation == given
    assert Authority.public(revocation=given).revocation == given
    assert Authority("CA", [CONTOSO.certificate]).revocation is None
    assert CONTOSO.authority(revocation=given) != CONTOSO.authority()
    with pytest.raises(ConfigurationError, match=r"write Revocation\(\[crl\]\)"):
        CONTOSO.authority(revocation=CONTOSO.crl())  # type: ignore[arg-type]


# ---------------------------------------------------------------- the value


def test_crls_are_bytes_or_a_list_of_them() -> None:
    der = CONTOSO.crl(**FRESH)
    pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
    forms: list[Any] = [der, [der], iter([pem]), pem, pem * 2, [der, pem], Crl.read(der)]
    assert len({Revocation(form) for form in forms}) == 1
    assert [crl.der for crl in Revocation(der).crls] == [der]
    response = CONTOSO.ocsp(LEAF, **FRESH)
    assert Revocation(ocsp=response) == Revocation(ocsp=[response])
    assert (Revocation().crls, Revocation().ocsp) == ((), ())


def test_it_can_be_evolved() -> None:
    given = Revocation(CONTOSO.crl(**FRESH), ocsp=[CONTOSO.ocsp(LEAF, **FRESH)])
    soft = evolve(given, mode="soft")
    assert (soft.crls, soft.ocsp, soft.mode) == (given.crls, given.ocsp, SOFT)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"crls": 7}, "crls are a CRL in DER or PEM form as bytes, not an int: read the file"),
        ({"crls": "list.crl"}, "crls are a CRL in DER or PEM form as bytes, not a str: read"),
        ({"crls": ["list.crl"]}, r"crls\[0\] is a CRL .* not a str: read the file"),
        ({"crls": [b"?"]}, r"crls\[0\] cannot be used: error parsing .* a CRL in DER or PEM form"),
        (
            {"crls": [CONTOSO.crl(extensions=[(x509.DeltaCRLIndicator(1), True)])]},
            r"crls\[0\] cannot be used: the CRL of 'CN=Contoso CA' of .* is a delta CRL",
        ),
        (
            {"ocsp": [CONTOSO.ocsp(LEAF), b"?"]},
            r"ocsp\[1\] cannot be used: .* in DER form is wanted",
        ),
        ({"ocsp": None}, "ocsp are an OCSP response in DER form as bytes, not None"),
        ({"mode": "hard"}, "a revocation mode is 'require', 'soft' or 'off', not 'hard'"),
        ({"scope": "path"}, "a revocation scope is 'chain' or 'leaf', not 'path'"),
        ({"source": b"?"}, r"source= has a method known\(certificate, issuer\), unlike a bytes"),
    ],
)
def test_what_cannot_be_meant_is_said(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Revocation(**options)


def test_what_a_source_has_is_read_once() -> None:
    """A CRL may have megabytes, and is asked for in each handshake."""
    module._read_known.cache_clear()
    source = cache(CONTOSO.crl(**FRESH))
    for _ in range(3):
        assert code(judge(Revocation(source=source))) == "accepted"
    assert module._read_known.cache_info().misses == 1


def test_a_path_of_one_certificate_has_nothing_to_look_up() -> None:
    seen = Evidence([certificate(LEAF)], Role.CLIENT, now=NOW)
    assert Revocation().check([certificate(LEAF)], seen) == module.Standing()
    assert Revocation(mode="off").check(LEAF.chain, seen) == module.Standing()


def test_codes_tell_how_much_is_known() -> None:
    assert Code.PATH_REVOKED.rank > Code.PATH_REVOCATION_UNKNOWN.rank > Code.PATH_EXPIRED.rank
