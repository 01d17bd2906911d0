"""AnyDomain: an authority that may vouch for anybody, such as the public CAs."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import field, frozen

from siptls.trust.authority import Authority
from siptls.trust.believed import Trust
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence
from siptls.trust.policy import Combinable, remembered_under
from siptls.trust.rules import NameRules
from siptls.trust.scope import IS_AUTHORITY, IS_RULES, Voucher

__all__ = ["AnyDomain"]


@frozen
class AnyDomain(Combinable):
    """Believes any name that the authority vouches for.

    It is for clients that connect to whatever public provider their user names: then the name
    that is expected does the work. On a server it proves who a peer is, and accepts *everyone*
    whom the authority knows; what a proven stranger may do is for the application to decide.

    Args:
        authority: Who vouches, often ``Authority.public()``.
        names: Which presented names count.
    """

    authority: Authority = field(validator=IS_AUTHORITY)
    names: NameRules = field(default=NameRules.RFC5922, kw_only=True, validator=IS_RULES)

    @property
    def authorities(self) -> frozenset[Authority]:
        """Who vouches."""
        return frozenset({self.authority})

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return remembered_under(self.authority)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: does the authority vouch for its name?"""
        voucher = Voucher("AnyDomain", self.authority, None, self.names, Trust.PUBLIC)
        return voucher.judge(evidence)
