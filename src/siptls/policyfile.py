"""A policy as a file: what an operator may write instead of Python.

`load_policy` reads a TOML file into the same values that an application would build, and reports
everything that is wrong with it at once. `dump_policy` writes such values back. What stands in the
file is data: whatever a policy of your own does beyond it is Python.

The tables of the file are the classes below, key by key; ``docs/reference/policy-file.md`` has them
in words.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import Factory, field, frozen
from attrs.validators import optional
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from siptls import pem
from siptls.arguments import kind_of
from siptls.errors import CertificateError, ConfigurationError
from siptls.trust.authority import Authority
from siptls.trust.blocked import Blocked
from siptls.trust.enterprise import Enterprise, TrustedServers
from siptls.trust.federation import Federation, Partner
from siptls.trust.names import parents, parse_domain, printable
from siptls.trust.policy import AnyOf, Restricted, TrustPolicy
from siptls.trust.purposes import KeyPurposes
from siptls.trust.revocation import Revocation, RevocationMode, RevocationScope
from siptls.trust.rules import NameRules
from siptls.trust.scope import Scope

__all__ = ["dump_policy", "load_policy"]

_NAMES = {
    rules.name: rules
    for rules in (NameRules.RFC5922, NameRules.OCS, NameRules.RFC9525, NameRules.TEAMS)
}
_PURPOSES = {
    purposes.name: purposes for purposes in (KeyPurposes.SIP, KeyPurposes.ROLE, KeyPurposes.RFC5924)
}
_MODES = {str(mode): mode for mode in RevocationMode}
_SCOPES = {str(scope): scope for scope in RevocationScope}
_OURS = "enterprise."
# In place of a file: the public CAs, as `Authority.public` gives them.
_PUBLIC = "public"


# ---------------------------------------------------------------- the tables of the file


def _is_text(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"a string is wanted, not {_shown(value)}")


def _is_list(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ConfigurationError(f'a list of strings is wanted, such as ["x"], not {_shown(value)}')


def _is_text_or_list(_: Any, __: Any, value: Any) -> None:
    if isinstance(value, list) and value:
        _is_list(_, __, value)
    else:
        _is_text(_, __, value)


def _is_table(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, dict):
        raise ConfigurationError(f"a table is wanted, not {_shown(value)}")


def _is_array(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigurationError(f"tables are wanted, each as [[partner]], not {_shown(value)}")


def _shown(value: object) -> str:
    return printable(json.dumps(value, default=str), 60)


# A key that must be there. It has a default all the same, so that its row is looked at without it.
_NEEDED = {"needed": True}


@frozen(kw_only=True)
class _File:
    """The file itself."""

    blocked: list[str] = field(factory=list, validator=_is_list)
    enterprise: dict[str, Any] | None = field(default=None, validator=optional(_is_table))
    partner: list[dict[str, Any]] = field(factory=list, validator=_is_array)


@frozen(kw_only=True)
class _Row:
    """What ``[enterprise]`` and each ``[[partner]]`` have in common."""

    domains: list[str] | None = field(default=None, validator=optional(_is_list), metadata=_NEEDED)
    authority: str | list[str] | None = field(
        default=None, validator=optional(_is_text_or_list), metadata=_NEEDED
    )
    authority_name: str | None = field(default=None, validator=optional(_is_text))
    names: str = field(default=NameRules.RFC5922.name, validator=_is_text)
    purposes: str = field(default=KeyPurposes.SIP.name, validator=_is_text)
    revocation: str | None = field(default=None, validator=optional(_is_text))
    revocation_scope: str | None = field(default=None, validator=optional(_is_text))
    crls: list[str] | None = field(default=None, validator=optional(_is_list))
    ocsp: list[str] | None = field(default=None, validator=optional(_is_list))


@frozen(kw_only=True)
class _EnterpriseTable(_Row):
    trusted_servers: list[str] | None = field(default=None, validator=optional(_is_list))


@frozen(kw_only=True)
class _PartnerTable(_Row):
    pass


# ---------------------------------------------------------------- loading


def load_policy(path: str | os.PathLike[str]) -> TrustPolicy:
    """Read a policy from a TOML file.

    Args:
        path: The file. The PEM files that it names are looked for beside it.

    Returns:
        ``(Enterprise & TrustedServers | Federation) & Blocked``, of which each part is there if the
        file has it.

    Raises:
        ConfigurationError: The file cannot be read, or is faulty. Its text, and ``faults``, have
            every fault with its key.
    """
    file = os.fspath(path)
    name, data = pem.read(file)
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{name} is no TOML file: {error}") from error
    reader = _Reader(Path(file).parent)
    policy = reader.policy(tables)
    if policy is None or reader.faults:
        raise _faulty(name, reader.faults)
    return policy


def _faulty(name: str, faults: list[str]) -> ConfigurationError:
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    error = ConfigurationError("\n  ".join([f"{name} has {count}:", *faults]))
    error.faults = tuple(faults)
    return error


_T = TypeVar("_T")


@frozen
class _Reader:
    """Builds a policy, and goes on after a fault to find the next."""

    folder: Path
    faults: list[str] = Factory(list)
    _claims: list[tuple[str, Scope]] = Factory(list)

    def policy(self, tables: Mapping[str, Any]) -> TrustPolicy | None:
        """Give the policy of a file; None if there is a fault."""
        file = self._table(_File, tables, "")
        parts: list[TrustPolicy | None] = []
        if file.enterprise is not None:
            parts.append(self._enterprise(file.enterprise))
        partners = [
            self._partner(row, f"partner[{number}]") for number, row in enumerate(file.partner)
        ]
        self._check_overlaps()
        self._check_blocked(file.blocked)
        known = [partner for partner in partners if partner is not None]
        if known and not self.faults:
            parts.append(Federation(known))
        if tables.get("partner", []) == [] and "enterprise" not in tables:
            self.faults.append("an [enterprise] or a [[partner]] is wanted: nobody is believed")
        blocked = self._named("blocked", file.blocked, Blocked) if file.blocked else None
        sound = [part for part in parts if part is not None]
        if self.faults or not sound:
            return None
        policy = sound[0] if len(sound) == 1 else AnyOf(sound)
        return policy if blocked is None else Restricted(policy, blocked)

    def _enterprise(self, row: Mapping[str, Any]) -> TrustPolicy | None:
        table = self._table(_EnterpriseTable, row, _OURS)
        enterprise = self._row(Enterprise, table, _OURS)
        servers = table.trusted_servers
        if servers is None:
            return enterprise
        condition = self._named(f"{_OURS}trusted_servers", servers, TrustedServers)
        if enterprise is None or condition is None:
            return None
        for name in sorted(condition.names):
            if not enterprise.domains.covers(name):
                self.faults.append(
                    f"{_OURS}trusted_servers: {name} is below none of our domains, so that it could"
                    " never be believed"
                )
        return Restricted(enterprise, condition)

    def _partner(self, row: Mapping[str, Any], where: str) -> Partner | None:
        return self._row(Partner, self._table(_PartnerTable, row, f"{where}."), f"{where}.")

    def _row(self, kind: Callable[..., _T], table: _Row, where: str) -> _T | None:
        """Build an `Enterprise` or a `Partner`."""
        names = self._preset(f"{where}names", _NAMES, table.names)
        purposes = self._preset(f"{where}purposes", _PURPOSES, table.purposes)
        revocation = self._revocation(table, where)
        sources, domains = table.authority, table.domains
        authority = None
        if sources is not None:
            authority = self._try(
                f"{where}authority",
                lambda: self._authority(
                    sources, table.authority_name, purposes or KeyPurposes.SIP, revocation
                ),
            )
        scope = None
        if domains is not None:
            scope = self._named(f"{where}domains", domains, Scope)
        if scope is not None:
            self._claims.append((where, scope))
        if authority is None or scope is None or names is None or purposes is None:
            return None
        return kind(scope, authority, names=names)

    def _revocation(self, table: _Row, where: str) -> Revocation | None:
        """Build what an authority looks up; None if the file says nothing about it."""
        keys = (table.revocation, table.revocation_scope, table.crls, table.ocsp)
        if all(key is None for key in keys):
            return None
        mode = self._preset(f"{where}revocation", _MODES, table.revocation or "require")
        scope = self._preset(f"{where}revocation_scope", _SCOPES, table.revocation_scope or "chain")
        crls = self._statements(f"{where}crls", table.crls, lambda data: Revocation(data).crls)
        responses = self._statements(
            f"{where}ocsp", table.ocsp, lambda data: Revocation(ocsp=data).ocsp
        )
        if mode is None or scope is None:
            return None
        return Revocation(crls, mode=mode, ocsp=responses, scope=scope)

    def _statements(
        self, where: str, files: Iterable[str] | None, read: Callable[[bytes], Iterable[_T]]
    ) -> list[_T]:
        """Read CRLs or OCSP responses; each file that is faulty is told."""

        def load(text: str) -> Iterable[_T]:
            name, data = pem.read(text.encode() if "-----BEGIN" in text else self.folder / text)
            try:
                return read(data)
            except ConfigurationError as error:
                raise ConfigurationError(f"{name}: {error}") from error

        found = [self._try(where, partial(load, text)) for text in files or ()]
        return [one for some in found if some is not None for one in some]

    def _authority(
        self,
        sources: str | list[str],
        given: str | None,
        purposes: KeyPurposes,
        revocation: Revocation | None,
    ) -> Authority:
        texts = [sources] if isinstance(sources, str) else sources
        if texts == [_PUBLIC]:
            authority = Authority.public(purposes=purposes)
            name = authority.name
        else:
            files = [t.encode() if "-----BEGIN" in t else self.folder / t for t in texts]
            authority = Authority.from_pem("CA", *files, purposes=purposes)
            name = _own_name(authority.anchors)
        return attrs.evolve(authority, name=given or name, revocation=revocation)

    def _named(self, where: str, names: list[str], kind: Callable[[list[str]], _T]) -> _T | None:
        """Build something of names; each that is faulty is told."""
        sound = [self._try(where, partial(parse_domain, name)) for name in names]
        return None if None in sound else self._try(where, lambda: kind(names))

    def _check_overlaps(self) -> None:
        """Find domains of which it is not clear whose they are."""
        own = {d for where, scope in self._claims if where == _OURS for d in scope.domains}
        owners: dict[str, str] = {}
        for where, scope in self._claims:
            if where == _OURS:
                continue
            for domain in sorted(scope.domains):
                if domain in owners:
                    self.faults.append(
                        f"{where}domains: {domain} is claimed by {owners[domain]}, too"
                    )
                owners.setdefault(domain, where.rstrip("."))
                if not own.isdisjoint(parents(domain)):
                    self.faults.append(f"{where}domains: {domain} is one of our own domains")
                elif above := sorted(one for one in own if domain in parents(one)):
                    self.faults.append(f"{where}domains: {domain} stands above our own {above[0]}")

    def _check_blocked(self, blocked: Iterable[str]) -> None:
        """Find blocked domains of our own: to block a partner for a while is what it is for."""
        own = {d for where, scope in self._claims if where == _OURS for d in scope.domains}
        for domain in blocked:
            if found := sorted(one for one in own if domain in parents(one)):
                self.faults.append(f"blocked: {domain} would block our own {found[0]}")

    def _preset(self, where: str, presets: Mapping[str, _T], name: str) -> _T | None:
        if name in presets:
            return presets[name]
        written = {preset.upper(): preset for preset in presets}
        close = difflib.get_close_matches(name.upper(), written, n=1)
        hint = f"; is {written[close[0]]} meant?" if close else ""
        self.faults.append(f"{where}: {_shown(name)} is none of {', '.join(presets)}{hint}")
        return None

    def _table(self, kind: type[_T], table: Mapping[str, Any], where: str) -> _T:
        """Check the structure of a table against its class; what is faulty is left out."""
        fields = {one.name: one for one in attrs.fields(kind)}  # type: ignore[arg-type]  # attrs' classes
        sound: dict[str, Any] = {}
        for key, value in table.items():
            if key not in fields:
                self.faults.append(f"{where}{key}: unknown key{_guess(key, fields)}")
            elif self._try(f"{where}{key}", partial(_validated, fields[key], value)):
                sound[key] = value
        for name, one in fields.items():
            if one.metadata == _NEEDED and name not in table:
                self.faults.append(f"{where}{name}: is missing")
        return kind(**sound)

    def _try(self, where: str, build: Callable[[], _T]) -> _T | None:
        """Build a value, or note why it cannot be built."""
        try:
            return build()
        except (ConfigurationError, CertificateError) as error:
            self.faults.append(f"{where}: {error}")
            return None


def _validated(one: attrs.Attribute[Any], value: object) -> bool:
    if one.validator is not None:
        one.validator(None, one, value)
    return True


def _guess(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; is {close[0]} meant?" if close else f"; known are {', '.join(known)}"


def _own_name(anchors: Iterable[x509.Certificate]) -> str:
    """The name of an authority that the file gives none: what its first anchor calls itself."""
    subject = next(iter(anchors)).subject
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return printable(str(common[0].value) if common else subject.rfc4514_string())


# ---------------------------------------------------------------- dumping


def dump_policy(policy: TrustPolicy) -> str:
    """Write a policy as the text of a TOML file, its CAs included.

    Args:
        policy: One that a file can have: an `Enterprise`, with or without `TrustedServers`, a
            `Federation`, or both joined by ``|``; and `Blocked` around all of it.

    Returns:
        Text from which `load_policy` makes an equal policy.

    Raises:
        ConfigurationError: It has a part that a file cannot have, or `load_policy` would find a
            fault in the text.
    """
    text = "\n".join(_dumped_policy(policy)).lstrip("\n") + "\n"
    # What is promised is what is tried: no text is given that would be read as something else.
    reader = _Reader(Path())
    again = reader.policy(tomllib.loads(text))
    if reader.faults:
        raise _faulty("what would be written", reader.faults)
    if again != policy:
        raise _not_expressible(policy)
    return text


def _dumped_policy(policy: TrustPolicy) -> list[str]:
    blocked: frozenset[str] = frozenset()
    if type(policy) is Restricted and type(policy.condition) is Blocked:
        blocked, policy = policy.condition.domains.domains, policy.policy
    parts = policy.parts if type(policy) is AnyOf else (policy,)
    lines = [f"blocked = {_list(blocked)}"] if blocked else []
    lines += ["", *_dumped(parts[0])]
    if len(parts) > 1:
        if type(parts[1]) is not Federation or len(parts) > 2:  # noqa: PLR2004  an enterprise and a federation
            raise _not_expressible(policy)
        lines += ["", *_dumped(parts[1])]
    if len(parts) > 1 and type(parts[0]) is Federation:
        raise _not_expressible(policy)
    return lines


def _dumped(part: TrustPolicy) -> list[str]:
    """Write a part. Of a subclass nobody knows what else it asks for: none is taken as its base."""
    if type(part) is Enterprise:
        return ["[enterprise]", *_dumped_row(part)]
    if type(part) is Restricted and type(part.condition) is TrustedServers:
        servers = part.condition.names
        if type(part.policy) is Enterprise:
            row = _dumped_row(part.policy)
            return ["[enterprise]", *row, f"trusted_servers = {_list(servers)}"]
    if type(part) is Federation and part.blocked is None:
        if odd := [partner for partner in part.partners if type(partner) is not Partner]:
            raise _not_expressible(odd[0])
        rows = (["", "[[partner]]", *_dumped_row(partner)] for partner in part.partners)
        return [line for row in rows for line in row][1:]
    raise _not_expressible(part)


def _dumped_row(row: Enterprise | Partner) -> list[str]:
    authority = row.authority
    lines = [f"domains = {_list(row.domains.domains)}"]
    if authority.anchors == Authority.public().anchors:
        lines.append(f"authority = {_text(_PUBLIC)}")
    else:
        anchors = b"".join(c.public_bytes(Encoding.PEM) for c in authority.anchors).decode("ascii")
        lines.append(f"authority = '''\n{anchors}'''")
    default = Authority.public().name if lines[-1].endswith('"') else _own_name(authority.anchors)
    if authority.name != default:
        lines.append(f"authority_name = {_text(authority.name)}")
    return [
        *lines,
        *_dumped_preset("names", row.names, _NAMES, NameRules.RFC5922),
        *_dumped_preset("purposes", authority.purposes, _PURPOSES, KeyPurposes.SIP),
        *([] if authority.revocation is None else _dumped_revocation(authority.revocation)),
    ]


def _dumped_revocation(revocation: Revocation) -> list[str]:
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


def _dumped_preset(
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


def _not_expressible(part: TrustPolicy) -> ConfigurationError:
    return ConfigurationError(
        f"{kind_of(part)} cannot stand in a policy file like this: it has an Enterprise,"
        " with TrustedServers or without, then a Federation, and Blocked around both"
    )


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(_text(name) for name in sorted(names))}]"


def _text(value: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"half a character cannot stand in a file: {_shown(value)}")
    # ASCII, whatever encoding the file is written in. A JSON string is a TOML string, but for DEL,
    # and for what JSON writes as surrogates.
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character > "\uffff" or character == "\x7f":
        return f"\\U{ord(character):08x}"
    return json.dumps(character)[1:-1]
