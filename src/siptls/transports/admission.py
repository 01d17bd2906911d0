"""Admission: what an application asks about a peer whom the policy has accepted, before it begins.

A policy is pure, and the handshake waits for it. What has to ask a database, or DNS, is asked after
the handshake; until there is an answer, nothing reaches the application.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from attrs import evolve

from siptls.errors import ConfigurationError
from siptls.trust.codes import Code
from siptls.trust.decision import Decision, Peer
from siptls.trust.fault import Fault
from siptls.trust.policy import no_decision, raised
from siptls.wire.connection import ServerConnection

__all__ = ["Admit", "ask", "ask_blocking", "check_admit"]

Admit: TypeAlias = Callable[[Peer], Decision | Awaitable[Decision]]


def check_admit(admit: object) -> None:
    """Check what was passed as ``admit=``; None is no fault.

    Raises:
        ConfigurationError: It cannot be called.
    """
    if admit is not None and (not callable(admit) or isinstance(admit, type)):
        raise ConfigurationError(
            "admit= is a function that gets a Peer and gives a Decision, such as"
            " EdgeDiscovery(resolver)"
        )


async def ask(admit: Admit, core: ServerConnection, timeout: float) -> Decision:  # noqa: ASYNC109  it is part of the answer
    """Ask; whatever goes wrong is a refusal.

    Args:
        admit: Who is asked.
        core: The connection; the policy has accepted its peer.
        timeout: Seconds for the answer.
    """
    peer, evidence = core.peer, core.evidence
    assert peer is not None and evidence is not None  # noqa: S101, PT018  it is judged
    by = _name(admit)
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            answer = admit(peer)
            if inspect.isawaitable(answer):
                answer = await answer
    except TimeoutError as error:
        if not limit.expired():
            return raised("admit", by, error, evidence)  # it is of what it has asked
        fault = Fault(Code.POLICY_ERROR, by, f"gave no answer in {timeout:g} s", "a Decision")
        return Decision.refuse_for(fault, by=by, evidence=evidence)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # it is we who are cancelled
        return raised("admit", by, RuntimeError("what it waited for was cancelled"), evidence)
    except Exception as error:  # noqa: BLE001  whatever it is, it is a refusal
        return raised("admit", by, error, evidence)
    if not isinstance(answer, Decision):
        return no_decision(by, answer, evidence)
    return answer if answer.evidence is not None else evolve(answer, evidence=evidence)


def ask_blocking(admit: Admit, core: ServerConnection, timeout: float) -> Decision:
    """As `ask`, in the calling thread, which must not run an event loop."""
    return asyncio.run(ask(admit, core, timeout))


def _name(admit: Admit) -> str:
    return getattr(admit, "__name__", type(admit).__name__)
