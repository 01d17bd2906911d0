"""Reading a policy file: from tables to the values that an application would build.

How it thinks. Whoever writes a file wants to hear of all faults at once, so a fault is noted with
its key, and what it spoils is None from there on; nothing that depends on it is reported again.
What can only be seen when everything is read, such as whose a domain is, comes last. A policy is
given only if no fault was noted.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import Factory, frozen

from siptls import pem
from siptls.errors import CertificateError, ConfigurationError
from siptls.policytables import (
    MODES,
    NAMES,
    NEEDED,
    PUBLIC,
    PURPOSES,
    SCOPES,
    VERIFICATIONS,
    DiscoveryTable,
    EnterpriseTable,
    FileTable,
    PartnerTable,
    VoucherTable,
    as_strings,
    is_too_large,
    own_name,
    shown,
)
from siptls.trust.account import TrafficLimits
from siptls.trust.authority import Authority
from siptls.trust.authorization import ANY_DOMAIN
from siptls.trust.blocked import Blocked
from siptls.trust.discovery import Discovery
from siptls.trust.enterprise import Enterprise, TrustedServers
from siptls.trust.federation import Federation, Partner
from siptls.trust.names import parents, parse_domain, printable
from siptls.trust.policy import AnyOf, Restricted, TrustPolicy
from siptls.trust.purposes import KeyPurposes
from siptls.trust.revocation import Revocation
from siptls.trust.rules import NameRules
from siptls.trust.scope import Scope

__all__ = ["PolicyReader"]

_OURS = "enterprise."
_RELAYS = f"{_OURS}relays"
_STRANGERS = "discovery."
# How alike a relayed domain must be to a partner's to be taken for a slip: one letter of eight.
_SLIP = 0.85
_T = TypeVar("_T")


@frozen
class PolicyReader:
    """Builds a policy, and goes on after a fault to find the next.

    Attributes:
        folder: Where the files are that the tables name.
        faults: What was found, each with its key.
    """

    folder: Path
    faults: list[str] = Factory(list)
    _own: set[str] = Factory(set)
    _claims: list[tuple[str, Scope]] = Factory(list)
    _edges: list[tuple[str, str]] = Factory(list)
    _relayed: list[tuple[str, str]] = Factory(list)

    def policy(self, tables: Mapping[str, Any]) -> TrustPolicy | None:
        """Give the policy of a file; None if there is a fault."""
        file = self._table(FileTable, tables, "")
        ours = None if file.enterprise is None else self._enterprise(file.enterprise)
        partners = [
            self._partner(row, f"partner[{number}].") for number, row in enumerate(file.partner)
        ]
        discovery = None
        if file.discovery is not None:
            discovery = self._discovery(file.discovery, alone="enterprise" not in tables)
        self._check_whole(file, tables)
        blocked = self._named("blocked", file.blocked, Blocked) if file.blocked else None
        if self.faults:
            return None
        parts = [] if ours is None else [ours]
        if partners or discovery is not None:
            known = [partner for partner in partners if partner is not None]
            parts.append(Federation(known, discovery=discovery))
        policy = parts[0] if len(parts) == 1 else AnyOf(parts)
        return policy if blocked is None else Restricted(policy, blocked)

    # ------------------------------------------------------------ the tables

    def _enterprise(self, row: Mapping[str, Any]) -> TrustPolicy | None:
        table = self._table(EnterpriseTable, row, _OURS)
        scope = self._scope(f"{_OURS}domains", table.domains)
        vouching = self._vouching(table, _OURS)
        if scope is not None:
            self._own.update(scope.domains)
        relays = self._relays(table.relays or {}, scope)
        condition = None
        if table.trusted_servers is not None:
            condition = self._trusted_servers(table.trusted_servers, relays, scope)
        elif table.relays is not None and "trusted_servers" not in row:
            self.faults.append(f"{_RELAYS}: trusted_servers is missing, which must name the relay")
        if scope is None or vouching is None:
            return None
        authority, names = vouching
        enterprise = Enterprise(scope, authority, names=names)
        return enterprise if condition is None else Restricted(enterprise, condition)

    def _trusted_servers(
        self, servers: list[str], relays: Mapping[str, Iterable[str]], scope: Scope | None
    ) -> TrustedServers | None:
        condition = self._named(f"{_OURS}trusted_servers", servers, TrustedServers)
        if condition is None:
            return None
        for name in sorted(condition.names):
            if scope is not None and not scope.covers(name):
                self.faults.append(
                    f"{_OURS}trusted_servers: {name} is below none of our domains, so that it could"
                    " never be believed"
                )
        unlisted = [server for server in relays if server not in condition.names]
        for server in unlisted:
            hint = _meant(server, condition.names)
            self.faults.append(f"{_RELAYS}: {server} is none of the trusted servers{hint}")
        return None if unlisted else attrs.evolve(condition, relays=relays)

    def _relays(self, relays: Mapping[str, Any], scope: Scope | None) -> dict[str, list[str]]:
        """Read which server relays whom; what is faulty is left out."""
        sound: dict[str, list[str]] = {}
        for written, domains in relays.items():
            where = f"{_RELAYS}[{shown(written)}]"
            server = self._try(_RELAYS, partial(parse_domain, written))
            if server in sound:
                self.faults.append(f"{_RELAYS}: {server} stands there twice")
            texts = self._try(where, partial(as_strings, domains)) or []
            relayed = [self._relayed_domain(where, text, scope) for text in texts]
            if server is not None:
                sound[server] = [domain for domain in relayed if domain is not None]
        return sound

    def _relayed_domain(self, where: str, written: str, scope: Scope | None) -> str | None:
        if written == ANY_DOMAIN:
            return written
        domain = self._try(where, partial(parse_domain, written))
        if domain is not None and scope is not None and scope.covers(domain):
            self.faults.append(
                f"{where}: {domain} is one of our own domains, for which each trusted server may"
                " speak anyway"
            )
        elif domain is not None:
            self._relayed.append((where, domain))
        return domain

    def _partner(self, row: Mapping[str, Any], where: str) -> Partner | None:
        table = self._table(PartnerTable, row, where)
        scope = self._scope(f"{where}domains", table.domains)
        vouching = self._vouching(table, where)
        verification = self._preset(f"{where}verification", VERIFICATIONS, table.verification)
        limits = self._limits(f"{where}limits.", table.limits)
        edge = None
        if table.edge is not None:
            edge = self._try(f"{where}edge", partial(parse_domain, table.edge))
        if edge is not None:
            self._edges.append((where, edge))
        if scope is not None:
            self._claims.append((where, scope))
        if scope is None or vouching is None or verification is None:
            return None
        authority, names = vouching
        return Partner(
            scope, authority, names=names, edge=edge, verification=verification, limits=limits
        )

    def _discovery(self, row: Mapping[str, Any], *, alone: bool) -> Discovery | None:
        """Build who is believed besides. Our own domains are those of ``[enterprise]``, too."""
        table = self._table(DiscoveryTable, row, _STRANGERS)
        vouching = self._vouching(table, _STRANGERS)
        limits = self._limits(f"{_STRANGERS}limits.", table.limits)
        if table.own:
            added = self._scope(f"{_STRANGERS}own", table.own)
            self._own.update(() if added is None else added.domains)
        elif alone and (table.own is not None or "own" not in row):
            self.faults.append(
                f"{_STRANGERS}own: is missing, and there is no [enterprise]: name our own domains,"
                " so that nobody else is believed to be in them"
            )
        if vouching is None or not self._own:
            return None
        authority, names = vouching
        return Discovery(authority, own=sorted(self._own), names=names, limits=limits)

    # ------------------------------------------------------------ what tables have in common

    def _scope(self, where: str, domains: list[str] | None) -> Scope | None:
        return None if domains is None else self._named(where, domains, Scope)

    def _limits(self, where: str, limits: Mapping[str, Any] | bool) -> TrafficLimits | None:
        """Build limits, of which each key that is not there has its default; None for none."""
        return None if isinstance(limits, bool) else self._table(TrafficLimits, limits, where)

    def _vouching(self, table: VoucherTable, where: str) -> tuple[Authority, NameRules] | None:
        """Build who vouches, and which names count."""
        names = self._preset(f"{where}names", NAMES, table.names)
        purposes = self._preset(f"{where}purposes", PURPOSES, table.purposes)
        revocation = self._revocation(table, where)
        sources = table.authority
        if sources is None:
            return None
        authority = self._try(
            f"{where}authority",
            lambda: self._authority(
                sources, table.authority_name, purposes or KeyPurposes.SIP, revocation
            ),
        )
        return None if authority is None or names is None else (authority, names)

    def _authority(
        self,
        sources: str | list[str],
        given: str | None,
        purposes: KeyPurposes,
        revocation: Revocation | None,
    ) -> Authority:
        texts = [sources] if isinstance(sources, str) else sources
        if texts == [PUBLIC]:
            authority = Authority.public(purposes=purposes)
            name = authority.name
        else:
            files = [t.encode() if "-----BEGIN" in t else self.folder / t for t in texts]
            authority = Authority.from_pem("CA", *files, purposes=purposes)
            name = own_name(authority.anchors)
        return attrs.evolve(authority, name=given or name, revocation=revocation)

    def _revocation(self, table: VoucherTable, where: str) -> Revocation | None:
        """Build what an authority looks up; None if the file says nothing about it."""
        keys = (table.revocation, table.revocation_scope, table.crls, table.ocsp)
        if all(key is None for key in keys):
            return None
        mode = self._preset(f"{where}revocation", MODES, table.revocation or "require")
        scope = self._preset(f"{where}revocation_scope", SCOPES, table.revocation_scope or "chain")
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

    # ------------------------------------------------------------ what is seen at the end

    def _check_whole(self, file: FileTable, tables: Mapping[str, Any]) -> None:
        self._check_overlaps()
        self._check_edges()
        self._check_blocked(file.blocked)
        if len(self._claims) == len(file.partner) and "discovery" not in tables:
            self._check_relayed()
        is_bare = "enterprise" not in tables and "discovery" not in tables
        if is_bare and tables.get("partner", []) == []:
            self.faults.append(
                "an [enterprise], a [[partner]] or a [discovery] is wanted: nobody is believed"
            )

    def _check_overlaps(self) -> None:
        """Find domains of which it is not clear whose they are."""
        owners: dict[str, str] = {}
        for where, scope in self._claims:
            for domain in sorted(scope.domains):
                if domain in owners:
                    self.faults.append(
                        f"{where}domains: {domain} is claimed by {owners[domain]}, too"
                    )
                owners.setdefault(domain, where.rstrip("."))
                if not self._own.isdisjoint(parents(domain)):
                    self.faults.append(f"{where}domains: {domain} is one of our own domains")
                elif above := sorted(one for one in self._own if domain in parents(one)):
                    self.faults.append(f"{where}domains: {domain} stands above our own {above[0]}")

    def _check_edges(self) -> None:
        """Find edges that are hosts of ours: a partner's CA would vouch for them."""
        for where, edge in self._edges:
            if not self._own.isdisjoint(parents(edge)):
                self.faults.append(
                    f"{where}edge: {edge} is in one of our own domains; a partner's edge is a host"
                    " of his, or of his hoster"
                )

    def _check_blocked(self, blocked: Iterable[str]) -> None:
        """Find blocked domains of our own: to block a partner for a while is what it is for."""
        for domain in blocked:
            if found := sorted(one for one in self._own if domain in parents(one)):
                self.faults.append(f"blocked: {domain} would block our own {found[0]}")

    def _check_relayed(self) -> None:
        """Find relayed domains that are a partner's but for a slip.

        That no partner has one is no fault by itself: there are inner servers that have a few
        partners of their own, and take what the edge relays of others.
        """
        partners = [domain for _, scope in self._claims for domain in scope.domains]
        for where, relayed in self._relayed:
            related = any(one in parents(relayed) or relayed in parents(one) for one in partners)
            if not related and (hint := _meant(relayed, partners, _SLIP)):
                self.faults.append(f"{where}: no partner has {relayed}{hint}")

    # ------------------------------------------------------------ noting faults

    def _table(self, kind: type[_T], table: Mapping[str, Any], where: str) -> _T:
        """Check the structure of a table against its class; what is faulty is left out."""
        fields = {one.name: one for one in attrs.fields(kind)}  # type: ignore[arg-type]  # attrs' classes
        blank = kind()  # all keys have defaults
        sound: dict[str, Any] = {}
        for key, value in table.items():
            if key not in fields:
                hint = _meant(key, fields) or f"; known are {', '.join(fields)}"
                self.faults.append(f"{where}{printable(key)}: unknown key{hint}")
            elif is_too_large(value):
                self.faults.append(f"{where}{key}: too large a number")
            elif self._try(f"{where}{key}", partial(attrs.evolve, blank, **{key: value})):
                sound[key] = value
        for name, one in fields.items():
            if one.metadata == NEEDED and name not in table:
                self.faults.append(f"{where}{name}: is missing")
        return kind(**sound)

    def _named(self, where: str, names: list[str], kind: Callable[[list[str]], _T]) -> _T | None:
        """Build something of names; each that is faulty is told."""
        sound = [self._try(where, partial(parse_domain, name)) for name in names]
        return None if None in sound else self._try(where, lambda: kind(names))

    def _preset(self, where: str, presets: Mapping[str, _T], name: str) -> _T | None:
        if name in presets:
            return presets[name]
        written = {preset.upper(): preset for preset in presets}
        close = difflib.get_close_matches(name.upper(), written, n=1)
        hint = f"; is {written[close[0]]} meant?" if close else ""
        self.faults.append(f"{where}: {shown(name)} is none of {', '.join(presets)}{hint}")
        return None

    def _try(self, where: str, build: Callable[[], _T]) -> _T | None:
        """Build a value, or note why it cannot be built."""
        try:
            return build()
        except (ConfigurationError, CertificateError) as error:
            self.faults.append(f"{where}: {error}")
            return None


def _meant(written: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Guess what was meant; empty if nothing is like it."""
    close = difflib.get_close_matches(written, sorted(known), n=1, cutoff=likeness)
    return f"; is {close[0]} meant?" if close else ""
