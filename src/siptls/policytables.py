"""The tables of a policy file, key by key, and what may stand in each.

``docs/reference/policy-file.md`` has them in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from attrs import field, frozen
from attrs.validators import optional
from cryptography import x509
from cryptography.x509.oid import NameOID

from siptls.errors import ConfigurationError
from siptls.trust.believed import Verification
from siptls.trust.names import printable
from siptls.trust.purposes import KeyPurposes
from siptls.trust.revocation import RevocationMode, RevocationScope
from siptls.trust.rules import NameRules

__all__ = [
    "MODES",
    "NAMES",
    "NEEDED",
    "PUBLIC",
    "PURPOSES",
    "SCOPES",
    "VERIFICATIONS",
    "DiscoveryTable",
    "EnterpriseTable",
    "FileTable",
    "PartnerTable",
    "VoucherTable",
    "as_strings",
    "is_too_large",
    "own_name",
    "shown",
]

NAMES = {
    rules.name: rules
    for rules in (NameRules.RFC5922, NameRules.OCS, NameRules.RFC9525, NameRules.TEAMS)
}
PURPOSES = {
    purposes.name: purposes for purposes in (KeyPurposes.SIP, KeyPurposes.ROLE, KeyPurposes.RFC5924)
}
MODES = {str(mode): mode for mode in RevocationMode}
SCOPES = {str(scope): scope for scope in RevocationScope}
VERIFICATIONS = {str(level): level for level in Verification}
_BITS = 64
PUBLIC = "public"
"""In place of a file: the public CAs, as `Authority.public` gives them."""


def shown(value: object) -> str:
    """Give what stands in the file, for a message: on one line, and not too long."""
    try:
        return printable(json.dumps(value, default=str), 60)
    except (ValueError, RecursionError):  # more digits or levels than Python writes
        return "what is too large to be shown"


def is_too_large(value: object) -> bool:
    """Say whether a number is none of TOML's, which have 64 bits; tomllib reads others, too."""
    return isinstance(value, int) and value.bit_length() >= _BITS  # one is the sign


def own_name(anchors: Iterable[x509.Certificate]) -> str:
    """Name an authority to which the file gives no name: as its first anchor calls itself."""
    subject = next(iter(anchors)).subject
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return printable(str(common[0].value) if common else subject.rfc4514_string())


def as_strings(value: object) -> list[str]:
    """Take a list of strings, none of them empty.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ConfigurationError(f'a list of strings is wanted, such as ["x"], not {shown(value)}')
    return value


def _is_list(_: Any, __: Any, value: Any) -> None:
    as_strings(value)


def _is_text(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"a string is wanted, not {shown(value)}")


def _is_text_or_list(_: Any, __: Any, value: Any) -> None:
    if isinstance(value, list) and value:
        as_strings(value)
    else:
        _is_text(_, __, value)


def _is_table(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, dict):
        raise ConfigurationError(f"a table is wanted, not {shown(value)}")


def _is_table_or_false(_: Any, __: Any, value: Any) -> None:
    if value is not False and not isinstance(value, dict):
        raise ConfigurationError(f"a table is wanted, or false for no limits, not {shown(value)}")


def _is_array(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigurationError(f"tables are wanted, each as [[partner]], not {shown(value)}")


NEEDED = {"needed": True}
"""Of a key that must be there. It has a default, so that its table is looked at without it."""


@frozen(kw_only=True)
class FileTable:
    """The file itself."""

    blocked: list[str] = field(factory=list, validator=_is_list)
    enterprise: dict[str, Any] | None = field(default=None, validator=optional(_is_table))
    partner: list[dict[str, Any]] = field(factory=list, validator=_is_array)
    discovery: dict[str, Any] | None = field(default=None, validator=optional(_is_table))


@frozen(kw_only=True)
class VoucherTable:
    """What all have in common: who vouches, and which names count."""

    authority: str | list[str] | None = field(
        default=None, validator=optional(_is_text_or_list), metadata=NEEDED
    )
    authority_name: str | None = field(default=None, validator=optional(_is_text))
    names: str = field(default=NameRules.RFC5922.name, validator=_is_text)
    purposes: str = field(default=KeyPurposes.SIP.name, validator=_is_text)
    revocation: str | None = field(default=None, validator=optional(_is_text))
    revocation_scope: str | None = field(default=None, validator=optional(_is_text))
    crls: list[str] | None = field(default=None, validator=optional(_is_list))
    ocsp: list[str] | None = field(default=None, validator=optional(_is_list))


@frozen(kw_only=True)
class EnterpriseTable(VoucherTable):
    """``[enterprise]``: `Enterprise`, and `TrustedServers` if there are any."""

    domains: list[str] | None = field(default=None, validator=optional(_is_list), metadata=NEEDED)
    trusted_servers: list[str] | None = field(default=None, validator=optional(_is_list))
    relays: dict[str, Any] | None = field(default=None, validator=optional(_is_table))


@frozen(kw_only=True)
class PartnerTable(VoucherTable):
    """``[[partner]]``: `Partner`. Its limits are `TrafficLimits`, key by key."""

    domains: list[str] | None = field(default=None, validator=optional(_is_list), metadata=NEEDED)
    edge: str | None = field(default=None, validator=optional(_is_text))
    verification: str = field(default=str(Verification.ALWAYS_VERIFIABLE), validator=_is_text)
    limits: dict[str, Any] | bool = field(default=False, validator=_is_table_or_false)


@frozen(kw_only=True)
class DiscoveryTable(VoucherTable):
    """``[discovery]``: `Discovery`. Without limits it has those that `TrafficLimits` has."""

    own: list[str] | None = field(default=None, validator=optional(_is_list))
    limits: dict[str, Any] | bool = field(factory=dict, validator=_is_table_or_false)
