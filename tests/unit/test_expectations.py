"""The assertions for tests of policies: they hold, or fail with the policy's explanation."""

from __future__ import annotations

import datetime as dt

import pytest

from siptls import ConfigurationError, Decision, Enterprise, Evidence
from siptls.testing import CertificateAuthority, assert_accepts, assert_refuses, evidence

CA = CertificateAuthority("Contoso CA", seed="expectations")
POLICY = Enterprise(["contoso.com"], CA.authority())
OURS = CA.issue("sip:contoso.com")


class Broken:
    """A policy that raises."""

    def evaluate(self, evidence: Evidence, /) -> Decision:
        raise LookupError("no such row")


def test_an_acceptance_gives_the_peer() -> None:
    assert assert_accepts(POLICY, OURS).domains == {"contoso.com"}
    assert assert_accepts(POLICY, evidence(OURS), domains=["contoso.com"]).domains == {
        "contoso.com"
    }


def test_a_refusal_gives_the_decision() -> None:
    decision = assert_refuses(POLICY, CA.issue("sip:fabrikam.com"), "name.out-of-scope")
    assert decision.code == "name.out-of-scope"


def test_how_a_credential_is_shown_can_be_said() -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1000)
    assert_refuses(POLICY, OURS, "path.expired", now=later)
    assert_accepts(POLICY, OURS, role="server", reference="sip:contoso.com")
    assert_refuses(POLICY, OURS, "name.mismatch", role="server", reference="eu.contoso.com")


def test_evidence_is_shown_as_it_is() -> None:
    with pytest.raises(TypeError, match=r"^role: evidence has these already"):
        assert_accepts(POLICY, evidence(OURS), role="server")


def test_an_unexpected_refusal_fails_with_its_explanation() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_accepts(POLICY, CA.issue("sip:fabrikam.com"))
    text = str(caught.value)
    assert text.startswith("the policy was expected to accept, and\nrefused: name.out-of-scope\n")
    assert "vouches for fabrikam.com" in text


def test_other_domains_than_expected_fail_with_the_explanation() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_accepts(POLICY, OURS, domains=["contoso.com", "eu.contoso.com"])
    text = str(caught.value)
    assert "expected to believe ['contoso.com', 'eu.contoso.com'], and believes" in text
    assert "\naccepted\n" in text


def test_nothing_at_all_may_be_expected_to_be_believed() -> None:
    with pytest.raises(AssertionError, match="expected to believe"):
        assert_accepts(POLICY, OURS, domains=[])


@pytest.mark.parametrize("code", ["name.mismatch", "accepted"])
def test_an_unexpected_acceptance_fails_with_its_explanation(code: str) -> None:
    """Even if someone expects the refusal "accepted"."""
    with pytest.raises(AssertionError) as caught:
        assert_refuses(POLICY, OURS, code)
    assert f"expected to refuse with {code}, and\naccepted\n" in str(caught.value)


def test_a_refusal_for_another_reason_fails_with_its_explanation() -> None:
    with pytest.raises(AssertionError, match=r"with path\.expired, and\nrefused: name\.none"):
        assert_refuses(POLICY, CA.issue("*.contoso.com"), "path.expired")


def test_a_policy_that_raises_has_refused_here_too() -> None:
    decision = assert_refuses(Broken(), OURS, "policy.error")
    assert "LookupError: no such row" in decision.reason


def test_what_is_shown_is_evidence_or_a_credential() -> None:
    for wrong in (CA, CA.pem, OURS.chain[0], None):
        with pytest.raises(TypeError, match=r"such as ca\.issue\('sip:a\.example'\), or"):
            assert_accepts(POLICY, wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a TrustPolicy is needed"):
        assert_accepts(OURS, POLICY)  # type: ignore[arg-type]


def test_domains_are_compared_as_names_are() -> None:
    assert_accepts(POLICY, OURS, domains=["Contoso.COM"])
    with pytest.raises(TypeError, match="domains= is a list"):
        assert_accepts(POLICY, OURS, domains="contoso.com")


def test_a_code_that_is_nearly_right_is_guessed() -> None:
    with pytest.raises(AssertionError, match=r"outofscope \(is name\.out-of-scope meant\?\)"):
        assert_refuses(POLICY, CA.issue("sip:fabrikam.com"), "name.outofscope")
