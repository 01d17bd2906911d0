"""Map boxes: what a picture of a trust map says in each box, however it is drawn.

Names come from files and certificates, so they may be long, and may hold anything: here they are
made printable, and few enough to be looked at. Whoever draws them escapes them for his format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from attrs import field, frozen

from siptls.trust.authority import Authority
from siptls.trust.believed import Verification
from siptls.trust.names import listed, printable
from siptls.trust.purposes import KeyPurposes
from siptls.trust.rules import NameRules
from siptls.trust.trustmap import MappedCA, Party, PartyKind, TrustMap

__all__ = ["Box", "Group", "Look", "MapBoxes"]

# Names that a box shows; more are counted. A picture is to be looked at, and lists are elsewhere.
_MAX_NAMES = 8
_MAX_BLOCKED = 12


class Look(StrEnum):
    """What a box stands for, and so what it looks like."""

    OURS = "ours"
    PARTNER = "partner"
    STRANGERS = "strangers"
    CA = "ca"
    BLOCKED = "blocked"


@frozen
class Box:
    """One box.

    Attributes:
        look: What it stands for.
        names: Its main lines: domains, or the name of a CA.
        details: Smaller lines below.
        is_blocked: Nobody of it is believed.
    """

    look: Look
    names: tuple[str, ...]
    details: tuple[str, ...] = ()
    is_blocked: bool = field(default=False, kw_only=True)


@frozen
class Group:
    """A CA, and those for whom it may vouch.

    Attributes:
        ca: The CA's box; None where none vouches.
        parties: Their boxes; at least one.
    """

    ca: Box | None
    parties: tuple[Box, ...]


@frozen
class MapBoxes:
    """A whole picture.

    Attributes:
        ours: Our side; at least one group.
        others: Partners and strangers, by CA, in the order of the policy.
        blocked: What is blocked; None if nothing is.
        mode: How we federate, in a few words; empty if we do not.
        unknown: What cannot be drawn.
    """

    ours: tuple[Group, ...]
    others: tuple[Group, ...]
    blocked: Box | None = None
    mode: str = ""
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, trust_map: TrustMap) -> MapBoxes:
        """Give the boxes of a trust map."""
        ours = trust_map.of_kind(PartyKind.OURS)
        others = [one for one in trust_map.parties if one.kind is not PartyKind.OURS]
        own_cas = {trust_map.ca_of(one) for one in ours}
        blocked = trust_map.blocked
        return cls(
            _groups(trust_map, ours, frozenset())
            or (Group(None, (_without_enterprise(trust_map),)),),
            _groups(trust_map, others, frozenset(ca.key for ca in own_cas if ca is not None)),
            Box(Look.BLOCKED, _few(blocked, _MAX_BLOCKED)) if blocked else None,
            _MODES[trust_map.mode],
            trust_map.unknown,
        )


_MODES = {
    "none": "",
    "closed": "we federate with these, and nobody else",
    "discovering": "we federate with these, and whoever proves his domain",
    "open": "we federate with whoever proves his domain",
}


def _few(names: Sequence[str], most: int = _MAX_NAMES) -> tuple[str, ...]:
    """Give some names, and how many more there are."""
    if len(names) <= most:
        return tuple(names)
    return (*names[: most - 1], f"and {len(names) - most + 1} more")


def _groups(
    trust_map: TrustMap, parties: Iterable[Party], own: frozenset[str]
) -> tuple[Group, ...]:
    by_ca: dict[MappedCA | None, list[Box]] = {}
    for party in parties:
        by_ca.setdefault(trust_map.ca_of(party), []).append(_party_box(party))
    return tuple(
        Group(None if ca is None else _ca_box(ca, is_own=ca.key in own), tuple(boxes))
        for ca, boxes in by_ca.items()
    )


def _without_enterprise(trust_map: TrustMap) -> Box:
    names = _few(trust_map.own) or ("we",)
    return Box(Look.OURS, names, ("no CA of ours in this policy",))


def _ca_box(ca: MappedCA, *, is_own: bool) -> Box:
    details = []
    if ca.is_bundle:
        details.append("they issue to anybody")
    else:
        until = max(anchor.not_valid_after_utc for anchor in ca.anchors)
        count = f"{len(ca.anchors)} anchors, " if len(ca.anchors) > 1 else ""
        details.append(f"{count}until {until.date().isoformat()}")
        if ca.is_public:
            details.append("a public CA: it issues to anybody")
    if is_own:
        details.append("our own CA")
    return Box(Look.CA, (ca.name,), tuple(details))


def _party_box(party: Party) -> Box:
    details = [*_server_lines(party)]
    if party.edge is not None:
        details.append(f"edge {party.edge}")
    if party.verification not in {None, Verification.ALWAYS_VERIFIABLE}:
        details.append(f"users {party.verification}")
    if party.limits is not None:
        rate, most = party.limits.messages_per_second, party.limits.connections
        details.append(f"at most {rate:g} messages/s, {most} connections")
    details += _rule_lines(party)
    if blocked := party.blocked_names:
        details.append(f"blocked: {listed(blocked, 2)}")
    match party.kind:
        case PartyKind.OURS:
            return Box(Look.OURS, _few(party.domains), tuple(details))
        case PartyKind.PARTNER | PartyKind.PINNED:
            if party.kind is PartyKind.PINNED:
                details.insert(0, "pinned: no CA is asked")
            is_blocked = bool(blocked)
            names = _few(party.domains)
            return Box(Look.PARTNER, names, tuple(details), is_blocked=is_blocked)
        case PartyKind.STRANGERS:
            details.insert(0, "but ours and the listed ones")
            return Box(Look.STRANGERS, ("any other domain",), tuple(details))
        case PartyKind.ANYBODY:
            return Box(Look.STRANGERS, ("any domain",), tuple(details))


def _server_lines(party: Party) -> list[str]:
    if party.servers is None:
        return ["any server with its certificate"] if party.kind is PartyKind.OURS else []
    relays = dict(party.relays)
    lines = ["trusted servers:"]
    for server in _few(party.servers):
        lines.append(f"• {server}")
        if relayed := relays.get(server):
            words = "any domain" if "*" in relayed else listed(relayed, 2)
            lines.append(f"   relays {words}")
    return lines


def _rule_lines(party: Party) -> list[str]:
    """What is not as it usually is."""
    rules = [] if party.rules == NameRules.RFC5922 else [f"names {printable(party.rules.name)}"]
    authority = party.authority
    if isinstance(authority, Authority):
        if authority.purposes != KeyPurposes.SIP:
            rules.append(f"purposes {printable(authority.purposes.name)}")
        if authority.revocation is not None:
            rules.append(f"revocation {authority.revocation.mode}")
    lines = [", ".join(rules)] if rules else []
    if party.conditions:
        lines.append(f"and {listed(party.conditions, 3)}")
    return lines
