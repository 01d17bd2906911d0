"""Turns: handshakes one after the other, so that a storm of them does not stop the messages.

A step of a handshake costs as much as a hundred messages. If each were taken as soon as its bytes
come, then after a power cut, when all the phones come back at once, a turn of the event loop would
last as long as hundreds of them. So they stand in a queue, and in each turn of the loop one has its
step; whatever else is ready has its turn in between.

With workers, the steps are taken in that many threads instead. That is for machines with cores to
spare: each step costs more, and the loop is free meanwhile. Of one connection only one step is
taken at a time, and whatever else is to be done with it waits until then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from siptls.journal import log as _log
from siptls.wire.connection import ClientConnection, ServerConnection

__all__ = ["Handshake", "Turns"]


# Bytes that may wait for their turn; more are left in the kernel. A flight has a few thousand.
_MOST_UNTAKEN = 65536


class Turns:
    """The handshakes of one transport. What is public belongs to the thread of the event loop.

    Args:
        workers: Threads in which the steps are taken; 0 for the loop itself.
    """

    def __init__(self, workers: int = 0) -> None:
        self._workers = workers
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: deque[Handshake] = deque()
        self._starved = False  # the system has no more threads
        self._busy = 0  # threads; or 1 while the loop is asked to take the next step

    def enter(self, handshake: Handshake) -> None:
        """Have a step taken when it is its turn."""
        self._waiting.append(handshake)
        self._go_on()

    def close(self) -> None:
        """Let the threads end when they are idle; what comes still is done in the loop."""
        self._workers = 0
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _go_on(self) -> None:
        if not self._workers:
            if self._waiting and not self._busy:
                self._busy = 1
                asyncio.get_running_loop().call_soon(self._step)
            return
        while self._waiting and self._busy < self._workers:
            self._busy += 1
            self._hand_over(self._waiting.popleft())

    def _hand_over(self, handshake: Handshake) -> None:
        """Have a thread take a step; or the loop, if the system has no more threads."""
        loop = asyncio.get_running_loop()
        threads = self._threads or ThreadPoolExecutor(self._workers, "siptls-handshake")
        # Whoever takes it out takes the step: an executor that cannot start a thread says so, and
        # has the work in its queue all the same.
        once = [(handshake, handshake.begin())]
        try:
            threads.submit(self._take, loop, once)
        except RuntimeError as error:
            if not self._starved:
                _log.warning("no thread for handshakes: %s; the event loop does them", error)
            self._starved = True
            loop.call_soon(self._take, loop, once)
        else:
            self._starved = False
            self._threads = threads  # it has one; without, nobody would ever empty its queue

    def _take(self, loop: asyncio.AbstractEventLoop, once: list[tuple[Handshake, bytes]]) -> None:
        """Take a step, in a thread or in the loop, if nobody has."""
        try:
            handshake, data = once.pop()
        except IndexError:
            return
        error = _error_of(handshake, data)
        loop.call_soon_threadsafe(self._finish, handshake, error)

    def _step(self) -> None:
        handshake = self._waiting.popleft()
        self._finish(handshake, _error_of(handshake, handshake.begin()))

    def _finish(self, handshake: Handshake, error: BaseException | None) -> None:
        self._busy -= 1
        self._go_on()
        handshake.end(error)


def _error_of(handshake: Handshake, data: bytes) -> BaseException | None:
    """Take a step; give what it has raised."""
    try:
        handshake.step(data)
    except BaseException as fault:  # noqa: BLE001  it is raised where it belongs
        return fault
    return None


class Handshake:
    """What has come of one connection, and waits for its turn, until its handshake is over.

    Args:
        turns: Where it stands in the queue.
        core: The connection.
        on_step: Called after each step, in the loop, with what the step has raised, or None.
        pause: Called to have nothing more read for now, and `resume` to have it read again.
        resume: See there.
    """

    __slots__ = (
        "_core",
        "_deferred",
        "_on_step",
        "_pause",
        "_resume",
        "_stepping",
        "_turns",
        "_untaken",
        "_waiting",
    )

    def __init__(
        self,
        turns: Turns,
        core: ClientConnection | ServerConnection,
        on_step: Callable[[BaseException | None], None],
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._turns = turns
        self._core = core
        self._on_step = on_step
        self._pause = pause
        self._resume = resume
        self._untaken = bytearray()
        self._waiting = False  # it stands in the queue
        self._stepping = False  # perhaps in a thread
        self._deferred: list[tuple[Callable[[], object], bool]] = []

    @property
    def over(self) -> bool:
        """Whether nothing waits any more, and messages may follow, or nothing at all."""
        return self._is_done and not (self._waiting or self._stepping or self._untaken)

    @property
    def _is_done(self) -> bool:
        return self._core.established or self._core.closed is not None

    def take(self, data: memoryview) -> None:
        """Take what was read."""
        self._untaken += data
        if len(self._untaken) > _MOST_UNTAKEN:
            self._pause()
        self._enter()

    def defer(
        self, call: Callable[[], object], *, next_step: bool = False, behind: bool = False
    ) -> bool:
        """Have something done after the step that is being taken; False if there is none.

        Args:
            call: What.
            next_step: It waits for the next one, too, if one stands in the queue.
            behind: It must not overtake anything that has come.
        """
        if self._stepping or (self._waiting and (next_step or behind)):
            self._deferred.append((call, behind))
            return True
        return False

    def _enter(self) -> None:
        if not self._waiting and not self._stepping:
            self._waiting = True
            self._turns.enter(self)

    # ------------------------------------------------------------ called by Turns

    def begin(self) -> bytes:
        """It is its turn: give what has come until now."""
        self._waiting, self._stepping = False, True
        taken, self._untaken = bytes(self._untaken), bytearray()
        self._resume()
        return taken

    def step(self, data: bytes) -> None:
        """Take the step: the only method that a thread calls."""
        self._core.receive_data(data)

    def end(self, error: BaseException | None) -> None:
        """Tell what has come of the step, and do what could not be done meanwhile."""
        self._stepping = False
        calls: list[Callable[[], object]] = [partial(self._on_step, error), self._take_rest]
        errors: list[BaseException] = []
        while calls:
            for call in calls:  # each of them, whatever another one raises
                try:
                    call()
                except BaseException as fault:  # noqa: BLE001  it is raised below
                    errors.append(fault)
            calls = self._undeferred()
        if self._untaken:
            self._enter()
        if errors:
            raise errors[0]

    def _take_rest(self) -> None:
        """What comes after the handshake has no turn: the application may send beside it."""
        while self._untaken and self._is_done:
            rest, self._untaken = bytes(self._untaken), bytearray()
            self._core.receive_data(rest)
            self._on_step(None)
            self._resume()

    def _undeferred(self) -> list[Callable[[], object]]:
        """Give what is to be done now: of what must not overtake, nothing while more waits."""
        ready = [call for call, behind in self._deferred if not (behind and self._untaken)]
        self._deferred = [one for one in self._deferred if one[1] and self._untaken]
        return ready
