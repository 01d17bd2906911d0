"""From a name to addresses: where a peer is, never who it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from siptls.arguments import kind_of
from siptls.errors import ConfigurationError, ResolutionError, SIPTLSError
from siptls.trust.names import ReferenceIdentity, printable

__all__ = [
    "SIPS_PORT",
    "Resolver",
    "SystemResolver",
    "Target",
    "check_port",
    "lookup",
    "lookup_blocking",
]

SIPS_PORT = 5061  # RFC 3261 §19.1.2
_MAX_PORT = 65535


@frozen
class Target:
    """An address at which a name may be reached.

    Attributes:
        address: IPv4 or IPv6, as text.
        port: 1 to 65535.
        host: The host name that led to the address; None if it was given as an address.
        reference: The name that was asked for, and that the peer must prove.
        priority: Lower is tried first (RFC 2782).
        weight: For a choice among targets of one priority (RFC 2782).
    """

    address: str
    port: int
    host: str | None = field(kw_only=True)
    reference: ReferenceIdentity = field(kw_only=True)
    priority: int = field(default=0, kw_only=True)
    weight: int = field(default=0, kw_only=True)


@runtime_checkable
class Resolver(Protocol):
    """Finds addresses: any object with this method is a resolver."""

    async def resolve(
        self,
        reference: ReferenceIdentity,
        *,
        service: str | None = None,
        port: int | None = None,
    ) -> list[Target]:
        """Give the targets for a name, in the order in which they are to be tried.

        Args:
            reference: The name that was asked for.
            service: Which kind of service is looked for; None for SIP over TLS.
            port: Only this port, if the application or the URI names one.

        Raises:
            ResolutionError: There is none, or the answer could not be had.
        """
        ...


@frozen
class SystemResolver:
    """Asks the operating system for the addresses (A, AAAA, hosts file) of the domain itself."""

    async def resolve(
        self,
        reference: ReferenceIdentity,
        *,
        service: str | None = None,
        port: int | None = None,
    ) -> list[Target]:
        """Give the addresses of ``reference.domain``; see `Resolver`. It knows no services."""
        del service
        where = reference.address or reference.domain
        return await lookup(where, SIPS_PORT if port is None else port, reference)


def check_port(port: object) -> int:
    """Give a port number back; the system would take 99999 for 34463.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(port, int) or not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"a port is a number from 0 to {_MAX_PORT}, not {port!r}")
    return port


async def lookup(host: str, port: int, reference: ReferenceIdentity) -> list[Target]:
    """Give the addresses of a host, or of an address given as text, by the operating system.

    Raises:
        ResolutionError: There is none, or the answer could not be had.
        ConfigurationError: It can be no host name at all.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        raise _no_address(host, error) from error
    return _targets(found, host, port, reference)


def lookup_blocking(host: str, port: int, reference: ReferenceIdentity) -> list[Target]:
    """As `lookup`, in the calling thread."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        raise _no_address(host, error) from error
    return _targets(found, host, port, reference)


def check_resolver(resolver: object) -> None:
    """Check that a resolver was passed; None is no fault.

    Raises:
        ConfigurationError: It is none.
    """
    if resolver is not None and not isinstance(resolver, Resolver):
        raise ConfigurationError(
            f"{kind_of(resolver)} is no Resolver: it has no resolve(reference)"
        )


async def ask(resolver: Resolver, reference: ReferenceIdentity, port: int | None) -> list[Target]:
    """Ask a resolver; whatever goes wrong is a `ResolutionError`."""
    by = type(resolver).__name__
    try:
        targets = await resolver.resolve(reference, port=port)
    except SIPTLSError:
        raise
    except Exception as error:
        raise ResolutionError(f"the resolver {by} failed for {reference}: {error}") from error
    if not targets:
        raise ResolutionError(f"the resolver {by} gave no address for {reference}")
    return targets


def resolve(
    resolver: Resolver, reference: ReferenceIdentity, port: int | None, timeout: float | None = None
) -> list[Target]:
    """As `ask`, in the calling thread, which must not run an event loop.

    Raises:
        ResolutionError: As for `ask`.
        TimeoutError: It did not answer within so many seconds.
    """

    async def answer() -> list[Target]:
        async with asyncio.timeout(timeout):
            return await ask(resolver, reference, port)

    return asyncio.run(answer())


def _no_address(host: str, error: Exception) -> SIPTLSError:
    if isinstance(error, OSError):  # gaierror; or what the system lacks, such as descriptors
        return ResolutionError(
            f"no address for {printable(host)!r} ({error.strerror}); check the name and this"
            " machine's DNS, or say where the peer is with host="
        )
    return ConfigurationError(f"{printable(host)!r} is no host name: {error}")


def _targets(
    found: Sequence[tuple[Any, ...]], host: str, port: int, reference: ReferenceIdentity
) -> list[Target]:
    named = None if _is_address(host) else host
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    return [Target(a, port, host=named, reference=reference) for a in addresses]


def _is_address(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True
