"""Limits: what a peer may cost us, before and after it has proven a name."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from siptls.arguments import Kind
from siptls.errors import ConfigurationError
from siptls.trust.evidence import MAX_CERTIFICATES, MAX_CHAIN

__all__ = ["Limits", "as_limits"]


def _positive(_: object, attribute: Any, value: Any) -> None:
    is_duration = attribute.name.endswith(("timeout", "delay"))
    is_rate = attribute.name.endswith("rate")
    kinds = (int, float) if is_duration or is_rate else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
        what = "number of seconds" if is_duration else "whole number (a count, or bytes)"
        what = "number of lines in a second" if is_rate else what
        raise ConfigurationError(f"Limits.{attribute.name} is a positive {what}, not {value!r}")


def _positive_or_none(owner: object, attribute: Any, value: Any) -> None:
    if value is not None:
        _positive(owner, attribute, value)


@frozen(kw_only=True)
class Limits:
    """Bounds for one connection, and for one transport. Durations in seconds, sizes in bytes.

    Attributes:
        connect_timeout: From the first packet to one address until it answers.
        attempt_delay: From the first packet to one address of a host until that to its next one,
            if the first has neither answered nor failed.
        reach_timeout: All of a connect(): resolution, every address, and the handshakes.
        handshake_timeout: From the first byte to both sides' acceptance.
        first_message_timeout: From its acceptance until whoever has connected to us says something,
            be it a keep-alive; None for no limit.
        idle_timeout: How long the peer may say nothing, not even a keep-alive; None for no limit.
        gone_timeout: How long the peer's machine may acknowledge nothing, neither what was sent nor
            the kernel's own probes, until it is held to be gone; or take nothing of what waits to
            be sent. To a second or two.
        message_timeout: From a message's first byte to its last.
        pong_timeout: From a ping of ours to the peer's pong.
        close_timeout: How long an orderly close waits for the peer's part in it.
        max_head: Start line and header of a message.
        max_header_lines: Lines of a message's header, folded ones included.
        max_body: Body of a message, as its Content-Length declares it.
        max_certificates: Certificates that a peer may present, its own included. Above 32 it has
            no effect: OpenSSL is told to look no further.
        max_chain: All of them together.
        max_connections: Connections that a server holds at once; more wait in the backlog.
        max_per_address: Connections from one address, or from one /64 of IPv6, that a server holds
            at once; one more is closed at once. None for no limit, as behind a load balancer that
            hides who connects.
        max_handshakes: Handshakes that a server has begun and not ended; more wait in the backlog,
            and those of ``siptls.sync`` in their threads.
        handshake_workers: Threads in which a transport takes the steps of handshakes; None takes
            them in the event loop, one in each of its turns. For machines with cores to spare.
        max_threads: Connections that a server of ``siptls.sync`` holds at once: each has a thread.
        write_buffer: Bytes not yet taken by the kernel above which `Connection.send` waits.
        read_buffer: Bytes of messages not yet received by the application above which the
            connection stops reading.
        log_rate: Lines in a second, on average, that a server logs about strangers: peers that have
            proven nothing, or just any name. Ten seconds' worth may come at once; how many were
            left out is told before the next one. None for no limit.
    """

    # Three SYNs (at 0, 1 and 3 s) and a slow answer; a kernel alone would go on for two minutes.
    connect_timeout: float = field(default=5.0, validator=_positive)
    # RFC 8305 §8: 250 ms between two connection attempts are recommended.
    attempt_delay: float = field(default=0.25, validator=_positive)
    # RFC 3261's transaction timeout (64*T1) is 32 s: whoever has a request to send waits no longer.
    reach_timeout: float = field(default=32.0, validator=_positive)
    # Kamailio's tls handshake timeout is 10 s.
    handshake_timeout: float = field(default=10.0, validator=_positive)
    # Above the two minutes after which a keep-alive has come (RFC 5626 §4.4.1): whoever opens a
    # connection has something to say.
    first_message_timeout: float | None = field(default=180.0, validator=_positive_or_none)
    # A registration lasts an hour by default (RFC 3261 §10.2), and is refreshed before.
    idle_timeout: float | None = field(default=3900.0, validator=_positive_or_none)
    # Below the two minutes for which Kamailio keeps an idle connection; a kernel alone takes hours.
    gone_timeout: float = field(default=90.0, validator=_positive)
    # RFC 3261's transaction timeout (64*T1) is 32 s: later, nobody waits for it any more.
    message_timeout: float = field(default=30.0, validator=_positive)
    # RFC 5626 §4.4.1: no pong within 10 s, and the flow has failed.
    pong_timeout: float = field(default=10.0, validator=_positive)
    # A round trip to anywhere on Earth is below 1 s; after that the peer is not going to answer.
    close_timeout: float = field(default=2.0, validator=_positive)
    # baresip and sipgo take 64 KiB for a whole message; PJSIP's 4000 bytes proved too small.
    max_head: int = field(default=65536, validator=_positive)
    # Over 70 hops (RFC 3261 §16.6) each leaves a Via and a Record-Route; Python's http.client takes
    # 100 header fields, Node.js 2000.
    max_header_lines: int = field(default=256, validator=_positive)
    # Between siphon's 256 KiB and reSIProcate's 10 MiB: MESSAGE and SUBSCRIBE bodies stay below.
    max_body: int = field(default=1048576, validator=_positive)
    max_certificates: int = field(default=MAX_CERTIFICATES, validator=_positive)
    max_chain: int = field(default=MAX_CHAIN, validator=_positive)
    # At 36 KiB each, an idle server's worth of 360 MiB.
    max_connections: int = field(default=10_000, validator=_positive)
    # An office behind one address stays below, and it takes two to fill the threads of siptls.sync.
    # Postfix takes 50 from one client, and can count IPv6 by /64, too.
    max_per_address: int | None = field(default=200, validator=_positive_or_none)
    # As many as a core can end before they time out, at 400 in a second.
    max_handshakes: int = field(default=4_000, validator=_positive)
    handshake_workers: int | None = field(default=None, validator=_positive_or_none)
    # Each thread costs 8 MiB of address space, and its turn; Apache's default is 400.
    max_threads: int = field(default=400, validator=_positive)
    # asyncio's own high-water mark.
    write_buffer: int = field(default=65536, validator=_positive)
    read_buffer: int = field(default=65536, validator=_positive)
    # Linux's kernel writes 10 lines in 5 s of those that a peer can cause. At 10 in a second a log
    # grows by 250 MB a day at most, and everybody who is refused by mistake is found in it.
    log_rate: float | None = field(default=10.0, validator=_positive_or_none)


_IS_LIMITS = Kind(Limits, "write Limits(handshake_timeout=5)", optional=True)


def as_limits(limits: Limits | None) -> Limits:
    """Take the limits that were passed, or the defaults.

    Raises:
        ConfigurationError: They are none.
    """
    _IS_LIMITS.check("limits", limits)
    return limits or Limits()
