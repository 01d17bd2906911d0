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

from siptls.wire.connection import ClientConnection, ServerConnection

__all__ = ["Handshake", "Turns"]

# Bytes that may wait for their turn; more are left in the kernel. A flight has a few thousand.
_MOST_UNTAKEN = 65536


class Turns:
    """The handshakes of one transport. All of its methods belong to the thread of the event loop.

    Args:
        workers: Threads in which the steps are taken; 0 for the loop itself.
    """

    def __init__(self, workers: int = 0) -> None:
        self._workers = workers
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: deque[Handshake] = deque()
        self._busy = 0  # threads; or 1 while the loop is asked to take the next step

    def enter(self, handshake: Handshake) -> None:
        """Have a step taken when it is its turn."""
        self._waiting.append(handshake)
        self._go_on()

    def close(self) -> None:
        """Let the threads end when they are idle."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._workers:
            if self._waiting and not self._busy:
                self._busy = 1
                loop.call_soon(self._step)
            return
        while self._waiting and self._busy < self._workers:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._workers, "siptls-handshake")
            handshake = self._waiting.popleft()
            handshake.begin()
            self._busy += 1
            step = loop.run_in_executor(self._threads, handshake.step)
            step.add_done_callback(partial(self._stepped, handshake))

    def _stepped(self, handshake: Handshake, step: asyncio.Future[None]) -> None:
        self._finish(handshake, step.exception())

    def _step(self) -> None:
        handshake = self._waiting.popleft()
        error = None
        handshake.begin()
        try:
            handshake.step()
        except BaseException as fault:  # noqa: BLE001  it is raised where it belongs
            error = fault
        self._finish(handshake, error)

    def _finish(self, handshake: Handshake, error: BaseException | None) -> None:
        self._busy -= 1
        self._go_on()
        handshake.end(error)


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
        "_taken",
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
        self._taken = b""
        self._waiting = False  # it stands in the queue
        self._stepping = False  # perhaps in a thread
        self._deferred: list[Callable[[], object]] = []

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

    def drop(self) -> None:
        """Forget what has come: the connection is given up by us."""
        self._untaken.clear()

    def defer(self, call: Callable[[], object], *, behind: bool = False) -> bool:
        """Have something done after the step that is being taken; False if there is none.

        Args:
            call: What.
            behind: It must not overtake what waits for its turn either.
        """
        if self._stepping or (behind and self._waiting):
            self._deferred.append(call)
            return True
        return False

    def _enter(self) -> None:
        if not self._waiting and not self._stepping:
            self._waiting = True
            self._turns.enter(self)

    # ------------------------------------------------------------ called by Turns

    def begin(self) -> None:
        """It is its turn."""
        self._waiting, self._stepping = False, True
        self._taken, self._untaken = bytes(self._untaken), bytearray()
        self._resume()

    def step(self) -> None:
        """Take the step: the only method that a thread calls."""
        self._core.receive_data(self._taken)

    def end(self, error: BaseException | None) -> None:
        """Tell what has come of the step, and do what could not be done meanwhile."""
        self._stepping, self._taken = False, b""
        try:
            self._on_step(error)
            while (
                self._untaken and self._is_done
            ):  # the application may send now: no thread any more
                more, self._untaken = bytes(self._untaken), bytearray()
                self._core.receive_data(more)
                self._on_step(None)
        finally:
            if self._untaken:
                self._enter()
            else:
                self._do_deferred()

    def _do_deferred(self) -> None:
        deferred, self._deferred = self._deferred, []
        for call in deferred:
            call()
