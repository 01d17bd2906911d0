"""From a name to addresses: where a peer is, never who it is."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol, TypeAlias, runtime_checkable

from attrs import evolve, field, frozen

from siptls.arguments import Kind, kind_of
from siptls.errors import ConfigurationError, ResolutionError, SIPTLSError
from siptls.trust.names import ReferenceIdentity, listed, parse_domain, printable

__all__ = [
    "SIPS_PORT",
    "Place",
    "Resolver",
    "StaticResolver",
    "SystemResolver",
    "Target",
    "check_alone",
    "check_host",
    "check_port",
    "check_resolver",
    "check_service",
    "check_where",
    "find",
    "find_blocking",
    "in_order",
    "lookup",
    "lookup_blocking",
]

SIPS_PORT = 5061  # RFC 3261 §19.1.2
_LABEL = "_[a-z0-9][a-z0-9-]{0,61}"
_SERVICE = re.compile(rf"{_LABEL}\.{_LABEL}", re.ASCII | re.IGNORECASE)
_MAX_PORT = 65535


def _is_target(target: Target, attribute: Any, value: Any) -> None:
    """Check a field; a resolver of the application's may have filled it."""
    del target
    match attribute.name:
        case "address":
            if not isinstance(value, str) or not _is_address(value):
                raise ConfigurationError(f"Target.address is an IP address, not {value!r:.80}")
        case "port":
            check_port(value)
        case "host" if value is not None and (not isinstance(value, str) or not value):
            raise ConfigurationError(
                f"Target.host is the name that led to the address, or None, not {value!r:.80}"
            )
        case "priority" | "weight":
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigurationError(
                    f"Target.{attribute.name} is a number from 0, not {value!r:.80}"
                )


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
        authenticated: Whether every answer of DNS on the way had the AD bit (DNSSEC, RFC 4035
            §3.2.3). It is worth as much as the path to the DNS server.
    """

    address: str = field(validator=_is_target)
    port: int = field(validator=_is_target)
    host: str | None = field(kw_only=True, validator=_is_target)
    reference: ReferenceIdentity = field(
        kw_only=True,
        validator=Kind(ReferenceIdentity, "pass on the one that `resolve` was called with"),
    )
    priority: int = field(default=0, kw_only=True, validator=_is_target)
    weight: int = field(default=0, kw_only=True, validator=_is_target)
    authenticated: bool = field(default=False, kw_only=True)


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
            service: The first two labels of an SRV record's name, such as
                ``"_sipfederationtls._tcp"``, if not SIP over TLS is looked for (RFC 3263).
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
        host = _own_host(reference, service)
        return await lookup(host, SIPS_PORT if port is None else port, reference)

    def resolve_blocking(
        self,
        reference: ReferenceIdentity,
        *,
        service: str | None = None,
        port: int | None = None,
    ) -> list[Target]:
        """As `resolve`, in the calling thread, which needs no event loop for it."""
        host = _own_host(reference, service)
        return lookup_blocking(host, SIPS_PORT if port is None else port, reference)


def _own_host(reference: ReferenceIdentity, service: str | None) -> str:
    if service is not None:
        raise ConfigurationError(
            f"the operating system's resolver knows no services such as {service!r:.80}: pass"
            " resolver=DNSResolver()"
        )
    return reference.address or reference.domain


Place: TypeAlias = str | tuple[str, int] | Target


def _as_places(places: Any) -> dict[str, tuple[Place, ...]]:
    if not isinstance(places, Mapping):
        raise ConfigurationError(
            "StaticResolver takes a dict from a domain to its addresses, such as"
            f" {{'contoso.com': ['192.0.2.1']}}, not {kind_of(places)}"
        )
    found = {}
    for name, addresses in places.items():
        if not isinstance(addresses, list | tuple):
            raise ConfigurationError(
                f"StaticResolver: the addresses of {name!r:.80} are a list, not"
                f" {kind_of(addresses)}"
            )
        key = _key(name)
        if key in found:
            raise ConfigurationError(
                f"StaticResolver has {key} twice; write all of its addresses in one list"
            )
        found[key] = tuple(_checked(name, place) for place in addresses)
    return found


def _key(name: Any) -> str:
    """Give a domain, or the name of an SRV record, in one form."""
    if not isinstance(name, str) or "_" not in name:
        return parse_domain(name)
    first, second, domain = [*name.split(".", 2), "", ""][:3]
    service = f"{first}.{second}"
    if not _SERVICE.fullmatch(service):
        raise ConfigurationError(
            f"StaticResolver: {printable(name)!r} is no domain, and no service of one, as"
            " '_sips._tcp.contoso.com' is"
        )
    return f"{service}.{parse_domain(domain)}".lower()


def _checked(name: str, place: Any) -> Place:
    match place:
        case Target(address=address, port=port) | (address, port):
            pass
        case _:
            address, port = place, SIPS_PORT
    try:
        check_port(port)
    except ConfigurationError as error:
        raise ConfigurationError(f"StaticResolver: {name!r:.80}: {error}") from None
    if not isinstance(address, str) or not _is_address(address):
        raise ConfigurationError(
            f"StaticResolver: {place!r:.80} of {name!r:.80} is no place: write an IP address, such"
            " as '192.0.2.1', or ('192.0.2.1', 5061), or a Target"
        )
    return address if address is place else place if isinstance(place, Target) else (address, port)


@frozen
class StaticResolver:
    """Knows the addresses from a dict: for tests, and for networks that do without DNS.

    ::

        StaticResolver({
            "contoso.com": ["192.0.2.1", ("192.0.2.2", 5071)],
            "_sipfederationtls._tcp.fabrikam.com": [("198.51.100.1", 5061)],
        })

    Attributes:
        places: For each domain its places, in the order in which they are tried: an IP address, a
            pair of address and port, or a `Target`, whose ``reference`` is replaced by what was
            asked for. A service stands before the domain, as in DNS.

    Raises:
        ConfigurationError: A name is no domain, or a place no address.
    """

    places: Mapping[str, Sequence[Place]] = field(converter=_as_places)

    async def resolve(
        self,
        reference: ReferenceIdentity,
        *,
        service: str | None = None,
        port: int | None = None,
    ) -> list[Target]:
        """Give the places of a name; see `Resolver`."""
        return self.resolve_blocking(reference, service=service, port=port)

    def resolve_blocking(
        self,
        reference: ReferenceIdentity,
        *,
        service: str | None = None,
        port: int | None = None,
    ) -> list[Target]:
        """As `resolve`, in the calling thread, which needs no event loop for it."""
        asked = reference.address or reference.domain
        name = asked if service is None else f"{service.lower()}.{asked}"
        places: Sequence[Place] = self.places.get(name, ())
        if reference.address is not None and service is None:
            places = [reference.address]
        if not places:
            known = listed(sorted(self.places)) or "nothing"
            raise ResolutionError(
                f"StaticResolver has no {printable(name)}; it has {known}: add it, or say where the"
                " peer is with host=",
                negative=True,
            )
        return [_target(place, reference, port) for place in places]


def _target(place: Place, reference: ReferenceIdentity, port: int | None) -> Target:
    if not isinstance(place, Target):
        address, own = place if isinstance(place, tuple) else (place, SIPS_PORT)
        place = Target(address, own, host=None, reference=reference)
    return evolve(place, reference=reference, port=place.port if port is None else port)


def check_port(port: object, *, lowest: int = 1) -> int:
    """Give a port number back; the system would take 99999 for 34463.

    Args:
        port: What was given.
        lowest: 0 where the system may choose one: to listen, and not to connect.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not lowest <= port <= _MAX_PORT:
        raise ConfigurationError(f"a port is a number from {lowest} to {_MAX_PORT}, not {port!r}")
    return port


def check_host(host: object) -> None:
    """Check where the application says that a peer is; None is no fault.

    Raises:
        ConfigurationError: It can be no host name and no address.
    """
    if host is None:
        return
    if not isinstance(host, str):
        raise ConfigurationError(
            f"host= is a host name or an IP address as text, not {kind_of(host)}; the port is port="
        )
    if not host or "[" in host or "/" in host or (":" in host and not _is_address(host)):
        raise ConfigurationError(
            f"host= is a host name or an IP address alone, such as '192.0.2.1' or '2001:db8::1',"
            f" not {printable(host)!r}; the port is port="
        )


def check_alone(host: object, port: object, service: object) -> None:
    """Check that whoever passes a socket says nothing else of where it leads.

    Raises:
        ConfigurationError: He does.
    """
    if host is not None or port is not None or service is not None:
        raise ConfigurationError("pass sock=, or host= and port=, but not both; service= asks, too")


def check_where(host: object, service: object) -> None:
    """Check that whoever says where a peer is does not ask, too.

    Raises:
        ConfigurationError: He does.
    """
    if host is not None and service is not None:
        raise ConfigurationError("pass host=, which says where, or service=, which asks; not both")


def check_service(service: object) -> None:
    """Check the name of a service; None is no fault.

    Raises:
        ConfigurationError: It is none.
    """
    if service is None:
        return
    if not isinstance(service, str):
        raise ConfigurationError(
            f"a service is a str such as '_sipfederationtls._tcp', not {kind_of(service)}"
        )
    if not _SERVICE.fullmatch(service):
        raise ConfigurationError(
            f"a service is two labels that begin with '_', such as '_sipfederationtls._tcp', not"
            f" {printable(service)!r}"
        )


def in_order(targets: Sequence[Target], random: Callable[[], float]) -> list[Target]:
    """Give targets in the order in which they are to be tried (RFC 2782).

    Lower priorities come first; within one, each next host is chosen by chance, in proportion to
    the weights. The addresses of one host and port stay together, in the order given.

    Args:
        targets: In any order; where all weights are 0, their order is kept.
        random: Gives a number from 0 to below 1, as ``random.random`` does.
    """
    groups: dict[tuple[int, str, int], list[Target]] = {}
    for target in targets:
        # An address without a host stands for itself.
        key = (target.priority, target.host or target.address, target.port)
        groups.setdefault(key, []).append(target)
    # RFC 2782: those of weight 0 stand in front, so that they have a small chance, and not none.
    waiting = sorted(groups.values(), key=lambda group: (group[0].priority, group[0].weight > 0))
    ordered: list[Target] = []
    while waiting:
        rivals = [group for group in waiting if group[0].priority == waiting[0][0].priority]
        chosen = _choose([group[0].weight for group in rivals], random)
        ordered += waiting.pop(chosen)  # the rivals are the first of those that wait
    return ordered


def _choose(weights: Sequence[int], random: Callable[[], float]) -> int:
    """Give the place of the first running sum that reaches a number from 0 to the whole sum."""
    wanted = int(random() * (sum(weights) + 1))
    return next(i for i, reached in enumerate(accumulate(weights)) if reached >= wanted)


async def lookup(host: str, port: int, reference: ReferenceIdentity) -> list[Target]:
    """Give the addresses of a host, or of an address given as text, by the operating system.

    Raises:
        ResolutionError: There is none, or the answer could not be had.
        ConfigurationError: It can be no host name at all.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # RuntimeError: asyncio asks in a thread, and the system has no more of them.
    except (OSError, UnicodeError, ValueError, RuntimeError) as error:
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
    if isinstance(resolver, type):
        raise ConfigurationError(f"{resolver.__name__} is a class: write {resolver.__name__}(...)")
    if resolver is not None and not isinstance(resolver, Resolver):
        raise ConfigurationError(
            f"{kind_of(resolver)} is no Resolver: it has no resolve(reference)"
        )


async def find(
    resolver: Resolver,
    reference: ReferenceIdentity,
    *,
    service: str | None = None,
    host: str | None = None,
    port: int | None = None,
) -> list[Target]:
    """Give the places at which to try, at least one; whatever goes wrong is an error of the tree.

    Args:
        resolver: Is asked, unless the application has said where.
        reference: The name that was asked for.
        service: See `Resolver.resolve`.
        host: Where the application says that the peer is; it is no word about who.
        port: Only this port.

    Raises:
        ResolutionError: There is none, or the answer could not be had.
        ConfigurationError: The host can be none, or is given beside a service.
    """
    if host is not None:
        check_where(host, service)
        return await lookup(host, SIPS_PORT if port is None else port, reference)
    try:
        targets = await resolver.resolve(reference, service=service, port=port)
    except SIPTLSError:
        raise
    except Exception as error:
        by = type(resolver).__name__
        if not inspect.iscoroutinefunction(resolver.resolve):
            error.add_note("write: async def resolve(self, reference, *, service=None, port=None)")
        raise ResolutionError(f"the resolver {by} failed for {reference}: {error}") from error
    return _found(resolver, reference, targets)


def find_blocking(  # noqa: PLR0913  as `find`, and a timeout
    resolver: Resolver,
    reference: ReferenceIdentity,
    *,
    service: str | None = None,
    host: str | None = None,
    port: int | None = None,
    timeout: float | None = None,
) -> list[Target]:
    """As `find`, in the calling thread, which must not run an event loop.

    Args:
        resolver: See `find`, as for what follows.
        reference: Whom.
        service: Which service.
        host: Where.
        port: On which port.
        timeout: Seconds for the resolver's answer; the operating system's own cannot be cut short.

    Raises:
        ResolutionError: As for `find`.
        TimeoutError: It did not answer in time.
    """
    if host is not None:
        check_where(host, service)
        return lookup_blocking(host, SIPS_PORT if port is None else port, reference)
    if isinstance(resolver, SystemResolver | StaticResolver):
        found = resolver.resolve_blocking(reference, service=service, port=port)
        return _found(resolver, reference, found)

    async def answer() -> list[Target]:
        async with asyncio.timeout(timeout):
            return await find(resolver, reference, service=service, port=port)

    return asyncio.run(answer())


def _found(resolver: Resolver, reference: ReferenceIdentity, targets: Any) -> list[Target]:
    by = type(resolver).__name__
    if not isinstance(targets, list | tuple):
        raise ResolutionError(
            f"the resolver {by} gave {kind_of(targets)} for {reference}: it has to give a list of"
            " Target"
        )
    if not targets:
        raise ResolutionError(
            f"the resolver {by} gave no address for {reference}; say where the peer is with host=",
            negative=True,
        )
    for target in targets:
        if not isinstance(target, Target):
            raise ResolutionError(
                f"the resolver {by} gave {kind_of(target)} for {reference}: it has to give a list"
                " of Target"
            )
        # Who is expected was asked for, and is no answer.
        if target.reference != reference:
            raise ResolutionError(
                f"the resolver {by} was asked for {reference}, and answered for {target.reference}:"
                " a Target's reference is the one that was asked for"
            )
    return list(targets)


def _no_address(host: str, error: Exception) -> SIPTLSError:
    if isinstance(error, OSError):  # gaierror; or what the system lacks, such as descriptors
        return ResolutionError(
            f"no address for {printable(host)!r} ({error.strerror}); check the name and this"
            " machine's DNS, or pass the peer's address as host="
        )
    if isinstance(error, RuntimeError):
        return ResolutionError(f"no address for {printable(host)!r} ({error}); try again later")
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
