"""Races to the addresses of a host, in the calling thread; for the rules ``transports/racing.py``.

No thread is started: the sockets do not block, and ``poll`` waits for all of them.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from siptls.transports.attempts import not_reached
from siptls.transports.blocking.stopping import Until, Waker
from siptls.transports.blocking.timeouts import earlier, end_of, milliseconds
from siptls.transports.racing import Race, dial
from siptls.transports.resolution import Target

__all__ = ["first"]


def first(race: Race, until: Until) -> socket.socket | None:
    """Give the socket that connected first; None if all addresses have failed.

    Raises:
        TimeoutError: The end has come; nothing is left open.
        ConnectionClosedError: It was stopped.
    """
    with Waker() as waker, until.stop.by(waker.wake):
        return _run(race, until, waker)


def _run(race: Race, until: Until, waker: Waker) -> socket.socket | None:
    running: dict[Target, socket.socket] = {}
    try:
        while not race.over:
            if until.stop.stopped:
                raise race.stopped()
            now = time.monotonic()
            if until.end is not None and now >= until.end:
                raise TimeoutError
            while (target := race.begin(now)) is not None:
                _begin(race, target, running)
            won = _look(
                race, running, waker, earlier(end_of(max(0.0, race.wakes - now)), until.end)
            )
            if won is not None:
                return won
            for target in race.late(time.monotonic()):
                running.pop(target).close()
        return None
    finally:
        for sock in running.values():
            sock.close()


def _begin(race: Race, target: Target, running: dict[Target, socket.socket]) -> None:
    try:
        sock, address = dial(target)
    except OSError as error:
        race.fail(target, not_reached(target, error))
        return
    running[target] = sock
    _judge(race, target, running, sock.connect_ex(address))


def _look(
    race: Race, running: dict[Target, socket.socket], waker: Waker, end: float | None
) -> socket.socket | None:
    """Wait, and see who has failed, and who has won."""
    if not running:
        return None
    poll = select.poll()
    poll.register(waker, select.POLLIN)
    for sock in running.values():
        poll.register(sock, select.POLLOUT)
    ready = {number for number, _ in poll.poll(milliseconds(end))}
    for target, sock in list(running.items()):
        if sock.fileno() not in ready:
            continue
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            race.win(target)
            return running.pop(target)
        _judge(race, target, running, code)
    return None


def _judge(race: Race, target: Target, running: dict[Target, socket.socket], code: int) -> None:
    """Take what the system says of a connection that is not there yet."""
    if code not in {0, errno.EINPROGRESS}:
        running.pop(target).close()
        race.fail(target, not_reached(target, OSError(code, os.strerror(code))))
