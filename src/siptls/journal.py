"""Journal: what is logged, all of it under the name ``siptls``.

A log is there to tell, and nothing depends on it. The handlers of the standard library catch their
own faults; another's may raise, such as on a full disk, and would do so in the middle of whatever
is being told: a refusal, an end, an accept that failed. So what a handler raises stops here.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from typing import Any

__all__ = ["log"]


class _Journal(logging.LoggerAdapter[logging.Logger]):
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
