"""Discovery: federation partners that nobody has listed.

As Office Communications Server has it: a domain that wants to federate publishes an SRV record,
``_sipfederationtls._tcp.DOMAIN``, that names its edge, and the edge has a certificate of a CA that
everybody knows. It proves a name, which is all that it proves: so what a discovered peer may send
is limited, and none may have a name of ours or of a listed partner, whatever CA vouches for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from attrs import evolve, field, frozen

from siptls.arguments import Kind, check_list
from siptls.errors import ConfigurationError
from siptls.trust.account import IS_LIMITS, TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.believed import Trust
from siptls.trust.decision import Decision
from siptls.trust.evidence import Evidence
from siptls.trust.policy import AnyOf, Combinable, all_remembered_under
from siptls.trust.rules import NameRules
from siptls.trust.scope import IS_RULES, Scope, Voucher, as_scope

__all__ = ["SERVICE", "Discovery"]

SERVICE = "_sipfederationtls._tcp"
"""Under which DNS names the edge of a domain that federates with everybody."""

_IS_AUTHORITY = Kind(Authority, "Authority.public() is that of the public CAs")


def _as_authorities(value: Authority | Iterable[Authority]) -> frozenset[Authority]:
    if isinstance(value, Authority):
        return frozenset({value})
    check_list("authorities", value)
    return frozenset(value)


@frozen
class Discovery(Combinable):
    """Believes the names of strangers if a CA that everybody knows vouches for them.

    It proves who a stranger is. Whether DNS names an edge for his domain is asked where there is a
    resolver: see `EdgeDiscovery`.

    Args:
        authorities: Who may vouch for anybody: mostly ``Authority.public()``; one or several.
        own: Our own domains: of nobody out there a name in one of them is believed.
        names: Which presented names count.
        limits: What a stranger may send; None for no limits.

    Raises:
        ConfigurationError: No authority, or no domain of ours.
    """

    authorities: frozenset[Authority] = field(converter=_as_authorities)
    own: Scope = field(converter=as_scope, kw_only=True)
    names: NameRules = field(default=NameRules.RFC5922, kw_only=True, validator=IS_RULES)
    limits: TrafficLimits | None = field(factory=TrafficLimits, kw_only=True, validator=IS_LIMITS)

    @authorities.validator
    def _are_authorities(self, _: object, value: frozenset[Authority]) -> None:
        if not value:
            raise ConfigurationError("Discovery without an authority would believe nobody")
        for authority in value:
            _IS_AUTHORITY.check("an authority", authority)

    def without(self, domains: frozenset[str]) -> Discovery:
        """Give one that believes nobody in these domains either: they are listed."""
        return evolve(self, own=Scope(self.own.domains | domains))

    @property
    def _asked(self) -> list[Authority]:
        return sorted(self.authorities, key=lambda one: one.name)

    @property
    def remembered_under(self) -> Hashable | None:
        """Under what its decisions may be remembered: see `TrustPolicy`."""
        return all_remembered_under(self._asked)

    def evaluate(self, evidence: Evidence, /) -> Decision:
        """Decide about a peer: has it proven a name that is nobody's whom we know?"""
        authority, *others = self._asked
        if others:
            each = (evolve(self, authorities=one) for one in (authority, *others))
            return AnyOf(each).evaluate(evidence)
        voucher = Voucher(
            "Discovery",
            authority,
            None,
            self.names,
            Trust.DISCOVERED,
            excluded=self.own,
            limits=self.limits,
        )
        return voucher.judge(evidence)
