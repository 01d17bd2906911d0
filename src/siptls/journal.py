"""Journal: what is logged, all of it under the name ``siptls``.

A log is there to tell, and nothing depends on it. The handlers of the standard library catch their
own faults; another's may raise, such as on a full disk, and would do so in the middle of whatever
is being told: a refusal, an end, an accept that failed. So what a handler raises stops here.

Each record has attributes beside its text, for whoever writes logs that machines read; `about`
makes them. They are plain data, for a record may be sent to another process.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from typing import Any

__all__ = ["about", "log"]

# Names that a record has: a certificate may hold a thousand.
_MOST_NAMES = 16


def about(  # noqa: PLR0913  what may be known of a peer
    event: str,
    *,
    address: tuple[str, int] | None = None,
    role: str | None = None,
    expected: object = None,
    trust: str | None = None,
    names: Iterable[str] = (),
    presented: Iterable[str] = (),
    code: str | None = None,
    error: BaseException | None = None,
    **more: object,
) -> dict[str, object]:
    """Make the attributes of a record; ``docs/reference/observability.md`` lists them all.

    Args:
        event: What has happened, in a word that does not change.
        address: The peer's.
        role: What the peer is: ``client`` or ``server``.
        expected: Whom we expected, of a server.
        trust: On what ground its names are believed.
        names: The believed names.
        presented: The names in its certificate, true or not; safe to be logged.
        code: The reason code, or the name of an alert.
        error: What ended it.
        more: What only this event has.
    """
    host, port = address or (None, None)
    found = {
        "event": event,
        "address": host,
        "port": port,
        "role": None if role is None else str(role),
        "expected": None if expected is None else str(expected),
        "trust": None if trust is None else str(trust),
        "names": sorted(names)[:_MOST_NAMES],
        "presented": list(presented)[:_MOST_NAMES],
        "code": None if code is None else str(code),
        "error": None if error is None else type(error).__name__,
        **more,
    }
    return {f"siptls_{name}": value for name, value in found.items()}


class _Journal(logging.LoggerAdapter[logging.Logger]):
    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Let a record have the attributes that it is given; each has an event, or None."""
        kwargs["extra"] = {"siptls_event": None, **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log as a logger does; what a handler raises is printed, as `logging` prints its own."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # who logs, and not this line
        try:
            super().log(level, msg, *args, **kwargs)
        except Exception:  # noqa: BLE001  a handler is the application's
            if logging.raiseExceptions and sys.stderr is not None:
                with suppress(Exception):  # it may be closed, or on the same disk
                    traceback.print_exc()


log = _Journal(logging.getLogger("siptls"), {})
