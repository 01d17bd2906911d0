"""From a domain to its servers by NAPTR and SRV (RFC 3263), for SIP over TLS only.

How it goes: the domain is asked for its servers (`_Server`: a host and a port), then the servers
for their addresses. What DNS says is held as a value (`_Answer`), for three things are to be told
apart throughout: there are records; DNS has said that there are none; no answer could be had. Only
the second may lead to what comes next in RFC 3263. Whatever DNS says, it says where a peer is, and
never who it is: each target keeps the name that was asked for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from siptls.arguments import Kind, check_callback, check_list
from siptls.errors import ConfigurationError, ResolutionError
from siptls.journal import log as _log
from siptls.transports.resolution import SIPS_PORT, Target, check_port, check_service, in_order
from siptls.trust.names import ReferenceIdentity, listed, parse_domain, printable

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.resolver

__all__ = ["DNSResolver"]


_SIPS = "_sips._tcp"  # RFC 3263 §4.1, §4.2
_SIPS_OVER_TCP = b"sips+d2t"  # RFC 3263 §4.1: the only one that is TLS
# NAPTR records that are followed. A domain has one for each transport, seldom a second.
_MAX_NAPTR = 4
# Questions on their way at a time. A validating resolver may have to ask many for each of them.
_AT_ONCE = 16
# Hosts that are asked for their addresses at a time.
_HOSTS_AT_ONCE = 4
# Seconds; unbound's cache-max-ttl. Else whoever forges one answer has won for ever.
_MAX_TTL = 86400
# Records in an answer that is kept. Few domains have as many servers, or hosts as many addresses.
_MAX_KEPT = 64
# A priority has 16 bits (RFC 2782): the servers of a second NAPTR record come after all of a first.
_PRIORITIES = 1 << 16
# What a datagram may carry without fragments (DNS Flag Day 2020); larger answers come over TCP.
_PAYLOAD = 1232


@frozen
class _Answer:
    """What DNS said to one question.

    Attributes:
        records: The records of the type that was asked for; empty if there are none.
        authenticated: It came with the AD bit (RFC 4035 §3.2.3).
        failure: Why no answer could be had, or None.
    """

    records: tuple[Any, ...] = ()
    authenticated: bool = False
    failure: Exception | None = None

    @property
    def negative(self) -> bool:
        """DNS has said that there is no such record, or no such name."""
        return not self.records and self.failure is None


@frozen
class _Server:
    """A host and a port that serve a domain, with the priority and weight of RFC 2782."""

    host: str
    port: int
    priority: int = 0
    weight: int = 0
    authenticated: bool = True


def _addresses(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        raise ConfigurationError(f"nameservers are a list: write [{printable(value)!r}]")
    check_list("nameservers", value)
    found = tuple(value)
    if not found:
        raise ConfigurationError("nameservers are empty: pass None for those of the system")
    for address in found:
        try:
            ipaddress.ip_address(str(address))
        except ValueError as error:
            raise ConfigurationError(
                f"a nameserver is an IP address such as '192.0.2.53', not"
                f" {printable(str(address))!r}"
            ) from error
    return tuple(str(address) for address in found)


def _is_count(resolver: DNSResolver, attribute: Any, value: object) -> None:
    del resolver
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{attribute.name} is a whole number from 1, not {value!r:.80}")


def _is_time(resolver: DNSResolver, attribute: Any, value: object) -> None:
    del resolver
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{attribute.name} is in seconds, above 0, not {value!r:.80}")


def _is_port(resolver: DNSResolver, attribute: Any, value: object) -> None:
    del resolver, attribute
    check_port(value)


@frozen(kw_only=True)
class DNSResolver:
    """Finds the servers of a domain as RFC 3263 says, where the transport is TLS.

    It needs dnspython: ``pip install 'siptls[dns]'``. One resolver may serve any number of calls,
    event loops and threads, which share its cache.

    Attributes:
        nameservers: Their IP addresses; None for those of the system (``/etc/resolv.conf``).
        port: Theirs.
        timeout: Seconds for one question, over all nameservers and retries.
        cache_size: How many answers are kept, each as long as its TTL says (negative ones, too:
            RFC 2308). A process that talks to some hundred domains stays below 1024.
        max_targets: How many targets are given at most. Each may cost a connection and a
            handshake, and whoever owns the domain decides how many there are.
        random: Gives numbers from 0 to below 1, for the choice by weight.

    Raises:
        ConfigurationError: dnspython is not installed, the system names no nameserver, or an
            argument cannot be meant.
    """

    nameservers: tuple[str, ...] | None = field(default=None, converter=_addresses)
    port: int = field(default=53, validator=_is_port)
    timeout: float = field(default=5.0, validator=_is_time)
    cache_size: int = field(default=1024, validator=_is_count)
    max_targets: int = field(default=32, validator=_is_count)
    random: Callable[[], float] = field(default=random.random, repr=False)
    _stub: dns.asyncresolver.Resolver = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_callback("random", self.random)
        object.__setattr__(self, "_stub", _stub_resolver(self))

    async def resolve(
        self,
        reference: ReferenceIdentity,
        *,
        service: str | None = None,
        port: int | None = None,
    ) -> list[Target]:
        """Give the targets for a name, in the order in which they are to be tried.

        Args:
            reference: The name that was asked for. Of an address, nothing is asked.
            service: Two labels, such as ``"_sipfederationtls._tcp"``: only SRV records of this
                name below the domain count. None for NAPTR, then ``_sips._tcp``, then the domain's
                own addresses (RFC 3263 §4).
            port: Without a service, only the domain's own addresses are asked for, as RFC 3263
                §4.2 says; with one, it stands for the ports in the SRV records.

        Raises:
            ResolutionError: There is none, and then ``negative`` is set; or the answer could not
                be had.
            ConfigurationError: The service or the port is none.
        """
        Kind(ReferenceIdentity, "ReferenceIdentity.parse makes one").check("reference", reference)
        check_service(service)
        if port is not None:
            check_port(port)
        if reference.address is not None:
            where = SIPS_PORT if port is None else port
            return [Target(reference.address, where, host=None, reference=reference)]
        domain = parse_domain(reference.domain)
        if service is not None:
            servers, failed = await self._of_service(f"{service.lower()}.{domain}", port), None
        elif port is not None:
            servers, failed = [_Server(domain, port)], None
        else:
            servers, failed = await self._of_domain(domain)
        targets = await self._targets(servers, reference, failed)
        return in_order(targets, self.random)[: self.max_targets]

    # ---------------------------------------------------------------- servers

    async def _of_service(self, name: str, port: int | None) -> list[_Server]:
        answers = await self._ask_all([(name, "SRV")])
        servers = _servers([name], answers, port, authenticated=True)
        if not servers:
            raise ResolutionError(
                f"DNS has no SRV record {name}: the domain offers no such service; check both",
                negative=True,
            )
        return servers

    async def _of_domain(self, domain: str) -> tuple[list[_Server], Exception | None]:
        """Give the servers, and why nothing is known of NAPTR records that may name others."""
        names = [f"{_SIPS}.{domain}"]
        naptr, *answers = await self._ask_all([(domain, "NAPTR"), (names[0], "SRV")])
        # A failed NAPTR (`_ask` has logged it) does no harm: many a firewall and home router drops
        # what it does not know, and a domain must have the SRV record anyway (RFC 3263 §4.1).
        if named := _named(naptr):
            names, answers = named, await self._ask_all([(name, "SRV") for name in named])
        # Whoever suppresses an answer sends us another way, so that all count, and a failed one.
        servers = _servers(names, answers, None, authenticated=naptr.authenticated)
        if not servers:
            way = naptr.authenticated and all(answer.authenticated for answer in answers)
            servers = [_Server(domain, SIPS_PORT, authenticated=way)]
        return servers, naptr.failure

    # ---------------------------------------------------------------- addresses

    async def _targets(
        self, servers: Sequence[_Server], reference: ReferenceIdentity, failed: Exception | None
    ) -> list[Target]:
        # An SRV answer may hold thousands of names: those that come last are not even asked.
        servers = sorted(servers, key=lambda server: server.priority)[: self.max_targets]
        hosts = list(dict.fromkeys(server.host for server in servers))
        answers: dict[tuple[str, str], _Answer] = {}
        targets: list[Target] = []
        # A few at a time: each answer may hold thousands of addresses, and what is too much by then
        # is not asked for.
        for start in range(0, len(hosts), _HOSTS_AT_ONCE):
            few = hosts[start : start + _HOSTS_AT_ONCE]
            questions = [(host, kind) for host in few for kind in ("AAAA", "A")]
            answers.update(zip(questions, await self._ask_all(questions), strict=True))
            targets += [
                self._target(server, record, answers[server.host, kind], reference)
                for server in servers
                if server.host in few
                for kind in ("AAAA", "A")
                for record in answers[server.host, kind].records[: self.max_targets]
            ]
            if len(targets) >= self.max_targets:
                break
        if targets:
            return targets
        if failures := [answer.failure for answer in answers.values() if answer.failure]:
            raise _no_answer(f"the addresses of {listed(hosts)}", failures[0])
        if failed is not None:
            raise _no_answer(f"NAPTR {reference.domain}, and it has no address by itself", failed)
        raise ResolutionError(
            f"DNS has no address (AAAA, A) for {listed(hosts)}; check the name, or say where the"
            " peer is with host=",
            negative=True,
        )

    @staticmethod
    def _target(
        server: _Server, record: Any, answer: _Answer, reference: ReferenceIdentity
    ) -> Target:
        return Target(
            record.address,
            server.port,
            host=server.host,
            reference=reference,
            priority=server.priority,
            weight=server.weight,
            authenticated=server.authenticated and answer.authenticated,
        )

    # ---------------------------------------------------------------- questions

    async def _ask_all(self, questions: Sequence[tuple[str, str]]) -> list[_Answer]:
        """Ask all at once; a task group leaves none behind if the caller is cancelled."""
        turns = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(turns, *question)) for question in questions]
        return [task.result() for task in tasks]

    async def _ask(self, turns: asyncio.Semaphore, name: str, kind: str) -> _Answer:
        import dns.asyncbackend  # noqa: PLC0415  only who has built a resolver needs dnspython
        import dns.exception  # noqa: PLC0415
        import dns.name  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        try:
            question = dns.name.from_text(name)
        except dns.name.NameTooLong:
            return _Answer()  # what DNS cannot hold, it does not have
        try:
            async with turns:
                # Not the default backend: it is another where trio is loaded, too.
                answer = await self._stub.resolve(
                    question,
                    kind,
                    raise_on_no_answer=False,
                    search=False,
                    backend=dns.asyncbackend.get_backend("asyncio"),
                )
        except dns.resolver.NXDOMAIN as error:
            said: Any = error  # its methods have no types
            return _Answer(authenticated=_has_ad(said.response(question)))
        except (dns.exception.DNSException, OSError) as error:
            _log.info("no answer from DNS for %s %s: %s", printable(name), kind, _said(error))
            return _Answer(failure=error)
        return _Answer(tuple(answer), authenticated=_has_ad(answer.response))


def _stub_resolver(options: DNSResolver) -> dns.asyncresolver.Resolver:
    try:
        import dns.asyncresolver  # noqa: PLC0415  an extra, for those who want it
        import dns.flags  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "DNSResolver needs dnspython: pip install 'siptls[dns]'"
        ) from error
    try:
        stub = dns.asyncresolver.Resolver(configure=options.nameservers is None)
    except (dns.resolver.NoResolverConfiguration, ValueError) as error:
        raise ConfigurationError(
            f"this system names no nameserver to ask ({error}); pass nameservers="
        ) from error
    if options.nameservers is not None:
        stub.nameservers = list(options.nameservers)
    stub.port = options.port
    stub.lifetime = options.timeout
    # Within the time for a question, each nameserver gets its turn.
    stub.timeout = min(stub.timeout, options.timeout / len(stub.nameservers))
    stub.cache = _cache(options.cache_size)
    # AD in a question asks for AD in the answer, without the signatures (RFC 6840 §5.7).
    stub.set_flags(int(dns.flags.RD | dns.flags.AD))
    stub.use_edns(0, payload=_PAYLOAD)
    return stub


def _cache(size: int) -> dns.resolver.LRUCache:
    """Make a cache whose entries neither live for ever nor fill memory, whatever DNS says."""
    import dns.resolver  # noqa: PLC0415

    class Cache(dns.resolver.LRUCache):
        def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
            if len(value.rrset or ()) > _MAX_KEPT:
                return
            value.expiration = min(value.expiration, time.time() + _MAX_TTL)
            super().put(key, value)

    return Cache(size)


def _has_ad(response: Any) -> bool:
    import dns.flags  # noqa: PLC0415

    return bool(response.flags & dns.flags.AD)


def _named(answer: _Answer) -> list[str]:
    """Give the SRV names of the NAPTR records for SIP over TLS, best first (RFC 3263 §4.1)."""
    wanted = [
        record
        for record in answer.records
        if record.service.lower() == _SIPS_OVER_TCP and record.flags.lower() == b"s"
    ]
    wanted.sort(key=lambda record: (record.order, record.preference))
    names = (record.replacement.to_text() for record in wanted)
    return [name for name in dict.fromkeys(names) if name != "."][:_MAX_NAPTR]


def _servers(
    names: Sequence[str], answers: Sequence[_Answer], port: int | None, *, authenticated: bool
) -> list[_Server]:
    """Give the servers in SRV answers, the best answer first; none if all are negative.

    Raises:
        ResolutionError: DNS has refused the service, or no usable answer could be had.
    """
    shown = printable(listed(names))
    if all(answer.negative for answer in answers):
        return []
    servers = [
        server
        for place, answer in enumerate(answers)
        for record in answer.records
        if (server := _server(record, place, port, authenticated and answer.authenticated))
    ]
    if servers:
        return servers
    if failures := [answer.failure for answer in answers if answer.failure]:
        # The domain's own addresses come next only if DNS says that there is no SRV record. Who
        # can make an answer fail would otherwise choose the server, and a domain whose web server
        # has its address would seem to have no SIP for as long as its DNS is slow.
        raise _no_answer(f"SRV {shown}", failures[0])
    if all(record.target.to_text() == "." for answer in answers for record in answer.records):
        raise ResolutionError(
            f"the SRV record {shown} says that this service is not available (RFC 2782): it is"
            " the domain's own word, and only its operator can change it",
            negative=True,
        )
    raise ResolutionError(
        f"no SRV record {shown} names a host and a port that could be connected to; the domain's"
        " operator has to mend it"
    )


def _server(record: Any, place: int, port: int | None, authenticated: bool) -> _Server | None:
    name = record.target.to_text()
    if name == ".":
        return None
    where = record.port if port is None else port
    try:
        host = parse_domain(name.removesuffix("."))
    except ConfigurationError as error:
        _log.warning("an SRV record is skipped: %s", error)
        return None
    if where == 0:
        _log.warning("an SRV record is skipped: it names port 0 of %s", host)
        return None
    priority = place * _PRIORITIES + record.priority
    return _Server(host, where, priority, record.weight, authenticated)


def _no_answer(what: str, error: Exception) -> ResolutionError:
    failed = ResolutionError(
        f"no answer from DNS for {what} ({_said(error)}); try again later, or check the nameservers"
    )
    failed.__cause__ = error
    return failed


def _said(error: Exception) -> str:
    return printable(str(error), 256)
