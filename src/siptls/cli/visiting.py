"""Visiting: the network part of ``siptls check``. It finds out; it judges and prints nothing.

How it thinks. It drives `ClientConnection` on sockets of its own, for a transport hides how long
each step took, and what it knew of a peer that was refused. The addresses are tried in the order in
which `connect` begins them, but one after the other, so that each step has a time of its own. As
there, the next one is tried unless the one before was trusted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from attrs import frozen

from siptls.cli.examination import Examination, Reply, Step, Visit
from siptls.cli.inquiry import answers, inquiry
from siptls.cli.judged import Judged
from siptls.errors import ConfigurationError, ResolutionError, SIPTLSError
from siptls.transports.attempts import no_answer, not_reached, port_of
from siptls.transports.racing import dial, groups
from siptls.transports.resolution import Resolver, Target, find
from siptls.trust.names import ReferenceIdentity, printable
from siptls.trust.policy import TrustPolicy
from siptls.trust.refusal import PeerRefusedError
from siptls.wire.connection import ClientConnection
from siptls.wire.credential import Credential
from siptls.wire.events import Event, MessageReceived
from siptls.wire.limits import Limits
from siptls.wire.link import begins_tls
from siptls.wire.message import Message
from siptls.wire.tls import TLSInfo

__all__ = ["Enquiry", "Tell", "examine"]

Tell = Callable[[str], None]
"""Is told what is waited for."""

_READ = 65536
_FINAL = 200
# Questions to DNS that follow one another: NAPTR and SRV, SRV of what NAPTR named, addresses.
_ROUNDS = 4
# Seconds for an alert where nothing is asked: a round trip to anywhere on Earth is below that.
_SETTLING = 1.0
# As the examples of RFC 3263 have a few: who controls a name's DNS may give any number.
_MOST_ADDRESSES = 16
# Bytes of what comes in place of TLS: a start line.
_IN_CLEAR = 128


@frozen
class Enquiry:
    """Whom to examine, how, and as whom.

    Attributes:
        target: Whom: a SIP URI or a domain.
        policy: Judges the peer.
        policy_name: Which policy that is, in words.
        credential: Our own certificate, or None.
        resolver: Finds the addresses.
        resolver_name: Who that is, in words.
        place: Where the peer is, if not where the resolver says: host and port (or None).
        timeout: Seconds for each: a question to DNS, a connection, a handshake, an answer.
        asks: Whether OPTIONS is sent.
    """

    target: str
    policy: TrustPolicy
    policy_name: str
    credential: Credential | None
    resolver: Resolver
    resolver_name: str
    place: tuple[str, int | None] | None = None
    timeout: float = 5.0
    asks: bool = True


async def examine(enquiry: Enquiry, tell: Tell = lambda _: None) -> Examination:
    """Resolve, connect, judge, and ask for OPTIONS; whatever goes wrong is part of the result.

    Raises:
        ConfigurationError: The target is no name, or the place is none.
    """
    expected = ReferenceIdentity.parse(enquiry.target)
    now = datetime.now(UTC)
    tell(f"looking for {expected}")
    resolution, targets = await _resolve(enquiry, expected)
    visits: list[Visit] = []
    for target in [one for group in groups(targets) for one in group][:_MOST_ADDRESSES]:
        visits.append(await _Visiting(enquiry, expected, target, tell).visit())
        if visits[-1].is_trusted:
            break
    return Examination(
        target=enquiry.target,
        expected=expected,
        policy=enquiry.policy_name,
        credential=enquiry.credential,
        resolver=enquiry.resolver_name,
        now=now,
        timeout=enquiry.timeout,
        asked=enquiry.asks,
        resolution=resolution,
        visits=tuple(visits),
    )


async def _resolve(enquiry: Enquiry, expected: ReferenceIdentity) -> tuple[Step, list[Target]]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    host, port = enquiry.place or (None, None)
    error: SIPTLSError
    seconds = _ROUNDS * enquiry.timeout
    try:
        async with asyncio.timeout(seconds):
            targets = await find(
                enquiry.resolver, expected, host=host, port=port or port_of(enquiry.target)
            )
    except ConfigurationError:
        raise
    except SIPTLSError as failed:
        error = failed
    except TimeoutError:
        error = ResolutionError(
            f"no answer for {expected} within {seconds:g} s; check this machine's DNS, or say where"
            " the peer is with --connect"
        )
    else:
        count = "1 address" if len(targets) == 1 else f"{len(targets)} addresses"
        if len(targets) > _MOST_ADDRESSES:
            count += f", of which {_MOST_ADDRESSES} are tried"
        return Step("resolve", loop.time() - started, count), targets
    return Step("resolve", loop.time() - started, error=error), []


class _Visiting:
    """One visit while it goes on."""

    def __init__(
        self, enquiry: Enquiry, expected: ReferenceIdentity, target: Target, tell: Tell
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._enquiry = enquiry
        self._expected = expected
        self._target = target
        self._tell = tell
        self._where = f"{target.address} port {target.port}"
        self._steps: list[Step] = []
        self._judged: Judged | None = None
        self._tls: TLSInfo | None = None
        self._reply: Reply | None = None
        self._in_clear = b""
        self._received_any = False

    async def visit(self) -> Visit:
        """Do all of it; the socket is closed at the end, whatever comes."""
        error = await self._connect_and_ask()
        return Visit(
            self._target,
            tuple(self._steps),
            tls=self._tls,
            judged=self._judged,
            error=error,
            reply=self._reply,
            in_clear=self._in_clear,
        )

    async def _connect_and_ask(self) -> SIPTLSError | None:
        self._tell(f"connecting to {self._where}")
        started = self._loop.time()
        try:
            sock, address = dial(self._target)
        except OSError as failed:
            return self._done("connect", started, error=not_reached(self._target, failed))
        with sock:
            try:
                async with asyncio.timeout(self._enquiry.timeout):
                    await self._loop.sock_connect(sock, address)
            except TimeoutError:
                late = no_answer(self._target, self._enquiry.timeout)
                return self._done("connect", started, error=late)
            except OSError as failed:
                return self._done("connect", started, error=not_reached(self._target, failed))
            self._done("connect", started, "connected")
            return await self._talk(sock)

    def _done(
        self, name: str, started: float, told: str = "", *, error: SIPTLSError | None = None
    ) -> SIPTLSError | None:
        """Note a step, and give its error back."""
        self._steps.append(Step(name, self._loop.time() - started, told, error))
        return error

    async def _talk(self, sock: socket.socket) -> SIPTLSError | None:
        self._tell(f"handshake with {self._where}")
        started = self._loop.time()
        seconds = self._enquiry.timeout
        core = ClientConnection(
            self._enquiry.policy,
            self._expected,
            credential=self._enquiry.credential,
            limits=Limits(handshake_timeout=seconds, message_timeout=seconds),
            address=(self._target.address, self._target.port),
            timer=self._loop.time,
        )
        while core.closed is None and not core.established:
            await self._turn(sock, core)
        if core.decision is not None:
            self._judged = Judged.by(self._enquiry.policy, core.decision, core.evidence)
        self._tls = core.tls
        if core.closed is None and core.tls is not None:
            self._done("handshake", started, _shown(core.tls))
            error = await self._ask(sock, core)
        else:
            error = self._done("handshake", started, error=core.closed)
        await self._leave(sock, core)
        return error

    async def _ask(self, sock: socket.socket, core: ClientConnection) -> SIPTLSError | None:
        """Ask for OPTIONS, or give the peer the time to refuse us (TLS 1.3)."""
        started = self._loop.time()
        if not self._enquiry.asks:
            until = started + min(_SETTLING, self._enquiry.timeout)
            while core.closed is None and not self._is_sure(core) and self._loop.time() < until:
                await self._turn(sock, core, until)
            return core.closed
        self._tell(f"asking {self._where} for its OPTIONS")
        request = inquiry(self._expected, self._enquiry.credential, sock.getsockname()[:2])
        until = started + self._enquiry.timeout
        try:
            core.send(request)
        except SIPTLSError as failed:  # its trust has ended this very moment
            return self._done("options", started, error=failed)
        while core.closed is None and not self._is_answered and self._loop.time() < until:
            self._note(await self._turn(sock, core, until), request)
        # Who has only said that it is trying may still refuse us, or be trusted no more.
        if core.closed is not None and not self._is_answered:
            return self._done("options", started, error=core.closed)
        if self._reply is not None:
            self._done("options", started, str(self._reply))
            return None
        self._done("options", started, f"no answer within {self._enquiry.timeout:g} s")
        return None

    @staticmethod
    def _is_sure(core: ClientConnection) -> bool:
        return core.tls is not None and core.tls.version == "TLSv1.2"

    @property
    def _is_answered(self) -> bool:
        return self._reply is not None and self._reply.status >= _FINAL

    def _note(self, events: list[Event], request: Message) -> None:
        for event in events:
            if not isinstance(event, MessageReceived) or not answers(event.message, request):
                continue
            if event.message.status is not None and not self._is_answered:
                self._reply = Reply(event.message.status, event.message.start_line)

    async def _turn(
        self, sock: socket.socket, core: ClientConnection, until: float | None = None
    ) -> list[Event]:
        """Send what is to be sent, and take what comes next, or the end of the time for it."""
        ends = [end for end in (core.deadline, until) if end is not None]
        await asyncio.sleep(0)  # so that Ctrl-C is heard, though there is always something to read
        try:
            async with asyncio.timeout_at(min(ends, default=None)):
                with suppress(ConnectionError):  # the peer's last words may be there still
                    await self._loop.sock_sendall(sock, core.data_to_send())
                data = await self._loop.sock_recv(sock, _READ)
        except TimeoutError:
            core.handle_deadline(self._loop.time())
        except OSError as failed:
            core.receive_eof(failed)
        else:
            self._look(data)
            if data:
                core.receive_data(data)
            else:
                core.receive_eof()
        return core.events()

    def _look(self, data: bytes) -> None:
        """Keep what is said in place of TLS."""
        if data and not self._received_any and not begins_tls(data[0]):
            self._in_clear = data[:_IN_CLEAR]
        self._received_any = True

    async def _leave(self, sock: socket.socket, core: ClientConnection) -> None:
        """Close in order. Until the peer has closed, too: a reset would overtake our alert."""
        is_heard = core.established or isinstance(core.closed, PeerRefusedError)
        core.close()
        try:
            async with asyncio.timeout(min(Limits().close_timeout, self._enquiry.timeout)):
                await self._loop.sock_sendall(sock, core.data_to_send())
                sock.shutdown(socket.SHUT_WR)
                while is_heard:
                    await asyncio.sleep(0)  # else no time ends while there is more to read
                    is_heard = bool(await self._loop.sock_recv(sock, _READ))
        except (OSError, TimeoutError):
            return


def _shown(tls: TLSInfo) -> str:
    group = "" if tls.group is None else f", group {printable(tls.group)}"
    alpn = "no ALPN" if tls.alpn is None else f"ALPN {printable(tls.alpn)}"
    return f"{printable(tls.version)}, {printable(tls.cipher)}{group}, {alpn}"
