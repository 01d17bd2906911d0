"""Writing a policy file: the text of a policy, CAs included.

Of a subclass nobody knows what else it asks for: none is written as its base.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.arguments import kind_of
from siptls.errors import ConfigurationError
from siptls.policytables import NAMES, PUBLIC, PURPOSES, is_too_large, own_name, shown
from siptls.trust.account import TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.believed import Verification
from siptls.trust.blocked import Blocked
from siptls.trust.discovery import Discovery
from siptls.trust.enterprise import Enterprise, TrustedServers
from siptls.trust.federation import Federation, Partner
from siptls.trust.names import listed
from siptls.trust.policy import AnyOf, Restricted, TrustPolicy
from siptls.trust.purposes import KeyPurposes
from siptls.trust.revocation import Revocation, RevocationScope
from siptls.trust.rules import NameRules

__all__ = ["not_expressible", "written"]


def written(policy: TrustPolicy) -> str:
    """Give the text of a policy, which is what the file is if it can be one.

    Raises:
        ConfigurationError: It has a part for which a file has no words.
    """
    blocked: frozenset[str] = frozenset()
    if type(policy) is Restricted and type(policy.condition) is Blocked:
        blocked, policy = policy.condition.domains.domains, policy.policy
    lines = [f"blocked = {_list(blocked)}", ""] if blocked else []
    return "\n".join([*lines, *_parts(policy)]) + "\n"


def not_expressible(part: object) -> ConfigurationError:
    """Say that a file cannot have something, and what it can have."""
    return ConfigurationError(
        f"{kind_of(part)} cannot stand in a policy file like this: it has an Enterprise,"
        " with TrustedServers or without, then a Federation, with Discovery or without, and"
        " Blocked around both"
    )


def _parts(policy: TrustPolicy) -> list[str]:
    parts = policy.parts if type(policy) is AnyOf else (policy,)
    if type(parts[0]) is Federation and len(parts) == 1:
        return _federation(parts[0], frozenset())
    if type(parts[0]) is Federation:
        raise not_expressible(policy)
    enterprise, servers = _ours(parts[0])
    lines = ["[enterprise]", *_claiming(enterprise), *_servers(servers)]
    if len(parts) == 1:
        return lines
    if type(parts[1]) is not Federation or len(parts) > 2:  # noqa: PLR2004  an enterprise and a federation
        raise not_expressible(policy)
    return [*lines, "", *_federation(parts[1], enterprise.domains.domains)]


def _ours(part: TrustPolicy) -> tuple[Enterprise, TrustedServers | None]:
    if type(part) is Enterprise:
        return part, None
    if (
        type(part) is Restricted
        and type(part.condition) is TrustedServers
        and type(part.policy) is Enterprise
    ):
        return part.policy, part.condition
    raise not_expressible(part)


def _servers(servers: TrustedServers | None) -> list[str]:
    if servers is None:
        return []
    lines = [f"trusted_servers = {_list(servers.names)}"]
    if servers.relays:
        relays = sorted(servers.relays.items())
        rows = (f"{_text(server)} = {_list(domains)}" for server, domains in relays)
        lines += ["", "[enterprise.relays]", *rows]
    return lines


def _federation(federation: Federation, ours: frozenset[str]) -> list[str]:
    if federation.blocked is not None:
        raise ConfigurationError(
            "a Federation with blocked= cannot stand in a policy file: what is blocked there is"
            " blocked for all of it; write (enterprise | federation) & Blocked([...])"
        )
    lines = [line for partner in federation.partners for line in ["", *_partner(partner)]]
    if federation.discovery is not None:
        lines += ["", *_discovery(federation.discovery, ours)]
    return lines[1:]


def _partner(partner: Partner) -> list[str]:
    if type(partner) is not Partner:
        raise not_expressible(partner)
    lines = ["[[partner]]", *_claiming(partner)]
    if partner.edge is not None:
        lines.append(f"edge = {_text(partner.edge)}")
    if partner.verification is not Verification.ALWAYS_VERIFIABLE:
        lines.append(f"verification = {_text(partner.verification)}")
    if partner.limits is not None:
        lines += ["", "[partner.limits]", *_limits(partner.limits)]
    return lines


def _discovery(discovery: Discovery, ours: frozenset[str]) -> list[str]:
    if type(discovery) is not Discovery:
        raise not_expressible(discovery)
    if len(discovery.authorities) > 1:
        raise ConfigurationError(
            f"a Discovery with {len(discovery.authorities)} authorities cannot stand in a policy"
            " file: it has one there, which may have the anchors of all of them"
        )
    if foreign := ours - discovery.own.domains:
        raise ConfigurationError(
            f"a Discovery whose own= lacks {listed(sorted(foreign))} cannot stand in a policy file"
            " beside the Enterprise that has it: add it, for it is ours"
        )
    (authority,) = discovery.authorities
    lines = ["[discovery]"]
    if own := discovery.own.domains - ours:
        lines.append(f"own = {_list(own)}")
    lines += _vouching(authority, discovery.names)
    if discovery.limits is None:
        lines.append("limits = false")
    elif discovery.limits != TrafficLimits():
        lines += ["", "[discovery.limits]", *_limits(discovery.limits)]
    return lines


def _limits(limits: TrafficLimits) -> list[str]:
    """Write those that are not as by default. A JSON number is a TOML number."""
    names = [one.name for one in attrs.fields(TrafficLimits)]
    values = {name: getattr(limits, name) for name in names}
    if large := [name for name, value in values.items() if is_too_large(value)]:
        raise ConfigurationError(
            f"limits with a number of more than 64 bits ({listed(large)}) cannot stand in a policy"
            " file: without limits is limits=None"
        )
    default = TrafficLimits()
    return [
        f"{name} = {json.dumps(value)}"
        for name, value in values.items()
        if value != getattr(default, name)
    ]


def _claiming(row: Enterprise | Partner) -> list[str]:
    return [f"domains = {_list(row.domains.domains)}", *_vouching(row.authority, row.names)]


def _vouching(authority: Authority, names: NameRules) -> list[str]:
    if authority.anchors == Authority.public().anchors:
        default = Authority.public().name
        lines = [f"authority = {_text(PUBLIC)}"]
    else:
        default = own_name(authority.anchors)
        anchors = b"".join(c.public_bytes(Encoding.PEM) for c in authority.anchors).decode("ascii")
        lines = [f"authority = '''\n{anchors}'''"]
    if authority.name != default:
        lines.append(f"authority_name = {_text(authority.name)}")
    return [
        *lines,
        *_preset("names", names, NAMES, NameRules.RFC5922),
        *_preset("purposes", authority.purposes, PURPOSES, KeyPurposes.SIP),
        *([] if authority.revocation is None else _revocation(authority.revocation)),
    ]


def _revocation(revocation: Revocation) -> list[str]:
    """Write where the status is looked up. OCSP responses end within days, and have no text."""
    if revocation.source is not None or revocation.ocsp:
        raise ConfigurationError(
            "a Revocation with a source or with OCSP responses cannot stand in a policy file: it"
            " has CRLs, a mode and a scope; evolve(revocation, ocsp=(), source=None) leaves the"
            " rest out"
        )
    lines = [f"revocation = {_text(revocation.mode)}"]
    if revocation.scope is not RevocationScope.CHAIN:
        lines.append(f"revocation_scope = {_text(revocation.scope)}")
    if revocation.crls:
        lists = (x509.load_der_x509_crl(crl.der) for crl in revocation.crls)
        texts = (one.public_bytes(Encoding.PEM).decode("ascii") for one in lists)
        lines += ["crls = [", *(f"'''\n{text}'''," for text in texts), "]"]
    return lines


def _preset(
    key: str,
    value: NameRules | KeyPurposes,
    presets: Mapping[str, NameRules | KeyPurposes],
    default: NameRules | KeyPurposes,
) -> list[str]:
    if value == default:
        return []
    if presets.get(value.name) != value:
        raise ConfigurationError(
            f"{key} of your own ({value.name}) cannot stand in a policy file: it knows"
            f" {', '.join(presets)}"
        )
    return [f"{key} = {_text(value.name)}"]


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(_text(name) for name in sorted(names))}]"


def _text(value: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"half a character cannot stand in a file: {shown(value)}")
    # ASCII, whatever encoding the file is written in. A JSON string is a TOML string, but for DEL,
    # and for what JSON writes as surrogates.
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character > "\uffff" or character == "\x7f":
        return f"\\U{ord(character):08x}"
    return json.dumps(character)[1:-1]
