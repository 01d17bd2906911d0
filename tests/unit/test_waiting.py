"""siptls.transports.aio.waiting: nobody is forgotten, and nobody who has gone is kept."""

from __future__ import annotations

import asyncio

import pytest

from siptls.transports.aio.waiting import Flag, Inbox


async def waiting_for(*waits: asyncio.Task[object]) -> None:
    """Let tasks come to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(one.done() for one in waits)


async def test_a_flag_wakes_all_who_wait() -> None:
    flag = Flag(holds=False)
    assert not flag
    waits = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await waiting_for(*waits)
    flag.set()
    flag.clear()  # it has held for a moment
    await asyncio.wait_for(asyncio.gather(*waits), 5)
    assert not flag


async def test_nobody_waits_for_what_holds() -> None:
    flag = Flag(holds=True)
    assert flag
    await flag.wait()


async def test_an_inbox_gives_in_order_what_is_put() -> None:
    inbox: Inbox[int] = Inbox()
    got = asyncio.create_task(inbox.get())
    await waiting_for(got)
    for number in range(3):
        inbox.put(number)
    assert await got == 0
    assert (len(inbox), await inbox.get(), inbox.take(), len(inbox)) == (2, 1, 2, 0)
    inbox.put(7)
    inbox.clear()
    assert not inbox


async def test_who_is_cancelled_after_he_was_woken_wakes_the_next() -> None:
    inbox: Inbox[str] = Inbox()
    first, second = asyncio.create_task(inbox.get()), asyncio.create_task(inbox.get())
    await waiting_for(first, second)
    inbox.put("item")
    first.cancel()
    assert await asyncio.wait_for(second, 5) == "item"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_finds_nothing_waits_again() -> None:
    inbox: Inbox[str] = Inbox()
    slow = asyncio.create_task(inbox.get())
    await waiting_for(slow)
    inbox.put("first")
    assert inbox.take() == "first"  # before the woken one had his turn
    await waiting_for(slow)
    inbox.put("second")
    assert await slow == "second"


async def test_those_who_have_given_up_leave_nothing() -> None:
    """Else who polls with a timeout would leak."""
    inbox: Inbox[str] = Inbox()
    flag = Flag(holds=False)
    for _ in range(5):
        waits = [asyncio.create_task(inbox.get()), asyncio.create_task(flag.wait())]
        for _ in range(2):
            await asyncio.sleep(0)
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    assert not inbox._waiting
    assert not flag._waiting
