"""Report: what the peers of a federation have done, and who was refused; for the operator.

It is the federation report of Office Communications Server, with its watch list: by certificate,
with the domains that each has spoken for.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import attrs
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from siptls.trust.account import AccountState, TrafficLimits
from siptls.trust.fault import describe, serial_number
from siptls.trust.names import printable

__all__ = ["CertificateName", "FederationReport", "PeerReport", "RefusedReport"]

# Characters of an issuer's name: four or five attributes, each at most 64 (RFC 5280, appendix A.1).
_MAX_ISSUER = 512
# Hexadecimal digits of a serial number; RFC 5280 §4.1.2.2 allows 40, and a stranger writes more.
_MAX_SERIAL = 80


@frozen
class CertificateName:
    """Which certificate it is, in texts that are printable and bounded.

    Attributes:
        description: Subject, and the starts of serial number and SHA-256, as in a `Fault`.
        issuer: The issuer, as in RFC 4514.
        serial: The serial number, hexadecimal.
        sha256: The SHA-256 of the certificate, hexadecimal. Empty if there is no certificate.
    """

    description: str
    issuer: str
    serial: str
    sha256: str

    @classmethod
    def of(cls, certificate: x509.Certificate | None) -> CertificateName:
        """Name a certificate, whatever it holds; None names none."""
        if certificate is None:
            return cls("(no certificate)", "", "", "")
        return cls(
            describe(certificate),
            _issuer(certificate),
            printable(f"{serial_number(certificate):x}", _MAX_SERIAL),
            hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        )

    def to_dict(self) -> dict[str, str]:
        """Give it as plain data."""
        return {
            "description": self.description,
            "issuer": self.issuer,
            "serial": self.serial,
            "sha256": self.sha256,
        }


def _issuer(certificate: x509.Certificate) -> str:
    try:
        return printable(certificate.issuer.rfc4514_string(), _MAX_ISSUER) or "(empty issuer)"
    except Exception:  # noqa: BLE001  it is for a report, which must not fail
        return "(issuer that cannot be decoded)"


@frozen
class PeerReport:
    """What the peer of one certificate has done, all its connections together.

    Attributes:
        certificate: Which one.
        trust: On what ground it is believed, as the value of a `Trust`.
        names: Names that are believed; at most 64.
        more_names: How many more there are.
        domains: Domains that it spoke for, in the order of their first use; at most 64.
        more_domains: How often it spoke for a domain for which there was no more room.
        connections: Those that are alive.
        messages: Messages that it sent, and that were delivered.
        messages_per_second: The same for about the last minute.
        uris: Different request-URIs that it asked for, without those that were refused.
        succeeded: Its requests that were answered with 2xx or 3xx.
        failed: Those that were answered with 4xx to 6xx, without challenges and cancelled ones.
        state: What is thought of it.
        refusals: How often something was refused to it, by reason code.
        limits: What it may do; None if nothing is held back.
    """

    certificate: CertificateName
    trust: str
    names: tuple[str, ...]
    more_names: int
    domains: tuple[str, ...]
    more_domains: int
    connections: int
    messages: int
    messages_per_second: float
    uris: int
    succeeded: int
    failed: int
    state: AccountState
    refusals: dict[str, int]
    limits: TrafficLimits | None

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data: str, int, float, None, list and dict only."""
        return {
            **self.certificate.to_dict(),
            "trust": self.trust,
            "names": list(self.names),
            "more_names": self.more_names,
            "domains": list(self.domains),
            "more_domains": self.more_domains,
            "connections": self.connections,
            "messages": self.messages,
            "messages_per_second": self.messages_per_second,
            "uris": self.uris,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "state": str(self.state),
            "refusals": dict(self.refusals),
            "limits": None if self.limits is None else attrs.asdict(self.limits),
        }


@frozen
class RefusedReport:
    """A certificate that our policy has refused.

    Attributes:
        certificate: Which one.
        code: The reason code, the last time.
        reason: The reason, the last time.
        address: ``(host, port)`` from which it came, the last time; None if it is not known.
        when: The last time.
        times: How often.
    """

    certificate: CertificateName
    code: str
    reason: str
    address: tuple[str, int] | None
    when: datetime
    times: int

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data: str, int, None, list and dict only."""
        address = self.address
        return {
            **self.certificate.to_dict(),
            "code": self.code,
            "reason": self.reason,
            "address": None if address is None else [printable(address[0]), address[1]],
            "when": self.when.isoformat(),
            "times": self.times,
        }


@frozen
class FederationReport:
    """Who was there, what they did, and who was refused.

    Attributes:
        peers: First those who are connected, then those who were, each the latest first.
        refused: The latest first.
    """

    peers: tuple[PeerReport, ...]
    refused: tuple[RefusedReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain data: str, int, float, None, list and dict only."""
        return {
            "peers": [peer.to_dict() for peer in self.peers],
            "refused": [one.to_dict() for one in self.refused],
        }

    def to_json(self, indent: int | None = None) -> str:
        """Give the report as JSON, in ASCII.

        Args:
            indent: Spaces for each level; None for all in one line.
        """
        return json.dumps(self.to_dict(), indent=indent)
