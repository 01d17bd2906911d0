"""DNSTrust: which name is expected of a peer when DNS has chosen the host."""

from __future__ import annotations

from enum import StrEnum

from attrs import evolve

from siptls.arguments import Kind
from siptls.trust.names import ReferenceIdentity, parents

__all__ = ["IS_DNS_TRUST", "DNSTrust"]


class DNSTrust(StrEnum):
    """How far DNS is believed when it says which host serves a domain.

    Attributes:
        UNTRUSTED: Not at all. The domain of the URI is expected, and nothing else (RFC 5922 §7.3).
        STRICT: A host that is the domain, or below it, is expected beside the domain: what Office
            Communications Server calls strict naming.
        TRUSTED: Any host is expected beside the domain, as it assumes of a company's own DNS. Who
            can change an answer of DNS then chooses who is believed.
    """

    UNTRUSTED = "UNTRUSTED"
    STRICT = "STRICT"
    TRUSTED = "TRUSTED"

    def expected(self, reference: ReferenceIdentity, host: str | None) -> ReferenceIdentity:
        """Give the name that the peer must prove.

        Args:
            reference: What was asked for. An address that it expects, or a host that the
                application has set in it, stays as it is.
            host: The host that DNS has named, in A-labels and lower case; None if it named none.
        """
        if host is None or reference.address is not None or reference.host is not None:
            return reference
        if self is DNSTrust.TRUSTED:
            return evolve(reference, host=host)
        if self is DNSTrust.STRICT and reference.domain in parents(host):
            return evolve(reference, host=host)
        return reference


IS_DNS_TRUST = Kind(DNSTrust, "write DNSTrust.UNTRUSTED, STRICT or TRUSTED")
