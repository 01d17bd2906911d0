"""What a test of a policy expects, with the policy's own explanation if it is otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeAlias

from cryptography import x509

from siptls.arguments import kind_of
from siptls.testing.pki import evidence
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.evidence import Evidence
from siptls.trust.names import parse_domain
from siptls.trust.policy import TrustPolicy, judge, require_policy
from siptls.wire.credential import Credential

__all__ = ["assert_accepts", "assert_refuses"]

Shown: TypeAlias = Evidence | Credential | Iterable[x509.Certificate]


def assert_accepts(
    policy: TrustPolicy,
    shown: Shown,
    *,
    domains: Iterable[str] | None = None,
    **how: Any,
) -> Peer:
    """Assert that a policy accepts a peer.

    Args:
        policy: The policy.
        shown: What the peer shows: evidence, a credential, or certificates alone, its own first.
        domains: Exactly these domains must be believed; None for whatever is.
        how: Unless it is evidence: ``role``, ``reference``, ``now`` and ``staple``, as in
            `evidence`.

    Returns:
        Who the peer is.

    Raises:
        AssertionError: It refuses, or believes other domains. The text is its explanation.
    """
    decision = _decide(policy, shown, how)
    if decision.peer is None:
        raise AssertionError(f"the policy was expected to accept, and\n{decision.explain()}")
    wanted = None if domains is None else _canonical(domains)
    if wanted is not None and decision.peer.domains != wanted:
        raise AssertionError(
            f"the policy was expected to believe {sorted(wanted)}, and believes"
            f" {sorted(decision.peer.domains)}\n{decision.explain()}"
        )
    return decision.peer


def assert_refuses(policy: TrustPolicy, shown: Shown, code: str, **how: Any) -> Decision:
    """Assert that a policy refuses a peer, and for which reason.

    Args:
        policy: The policy.
        shown: What the peer shows: evidence, a credential, or certificates alone, its own first.
        code: The reason code, such as ``"name.out-of-scope"``.
        how: Unless it is evidence: ``role``, ``reference``, ``now`` and ``staple``, as in
            `evidence`.

    Returns:
        The decision.

    Raises:
        AssertionError: It accepts, or refuses for another reason. The text is its explanation.
    """
    decision = _decide(policy, shown, how)
    if decision.accepted or decision.code != code:
        close = [] if code in set(Code) else difflib.get_close_matches(code, list(Code), n=1)
        hint = f" (is {close[0]} meant?)" if close else ""
        raise AssertionError(
            f"the policy was expected to refuse with {code}{hint}, and\n{decision.explain()}"
        )
    return decision


def _canonical(domains: Iterable[str]) -> frozenset[str]:
    if isinstance(domains, str):
        raise TypeError(f"domains= is a list: write [{domains!r}]")
    return frozenset(parse_domain(domain) for domain in domains)


def _decide(policy: TrustPolicy, shown: Shown, how: dict[str, Any]) -> Decision:
    """Ask as the TLS engine does, so that a policy that raises has refused here, too."""
    require_policy(policy)
    if isinstance(shown, str | bytes) or not isinstance(shown, Evidence | Credential | Iterable):
        raise TypeError(
            "what is shown is Evidence, a Credential, such as ca.issue('sip:a.example'), or a list"
            f" of certificates, not {kind_of(shown)}"
        )
    if not isinstance(shown, Evidence):
        shown = evidence(shown, **how)
    elif how:
        raise TypeError(f"{', '.join(how)}: evidence has these already; pass a credential instead")
    return judge(policy, shown)
