"""What is left of a process when everything is closed."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

# What may not outlive the transports, whoever it belonged to.
MORTAL = ("Connection", "Driver", "ServerConnection", "ClientConnection", "TLSEngine", "Kept")
# Resident memory that may come and go: arenas of the allocators are given back only when empty, and
# a peak of 200 MiB left 20 of them. What is forgotten is found by counting objects.
ALLOWANCE = 48 << 20
# Seconds for threads and sockets that are about to end.
_PATIENCE = 10.0


def resident() -> int:
    """Give the resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def files() -> int:
    """Give how many file descriptors are open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  iterdir would hold one more, or less


def objects() -> Counter[str]:
    """Count what siptls has made."""
    kinds = (type(one) for one in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("siptls"))


def measure(tasks: int = 0) -> dict[str, Any]:
    """Clear up, and measure; ``tasks`` are those of asyncio."""
    for _ in range(3):
        gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
    return {
        "memory": resident(),
        "files": files(),
        "threads": threading.active_count(),
        "tasks": tasks,
        "objects": dict(objects()),
    }


def settled(before: dict[str, Any], tasks: int = 0) -> dict[str, Any]:
    """Measure until all is as it was before, or patience is at its end."""
    end = time.monotonic() + _PATIENCE
    while True:
        now = measure(tasks)
        if not differences("", before, now) or time.monotonic() > end:
            return now
        time.sleep(0.1)


def differences(whose: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Say what is not as it was: nothing, if all is well."""
    said = [
        f"{whose}: {after[what]} {what} are left, and there were {before[what]} before"
        for what in ("files", "threads", "tasks")
        if after[what] > before[what]
    ]
    grown = after["memory"] - before["memory"]
    if grown > ALLOWANCE:
        said.append(
            f"{whose}: {grown / 2**20:.1f} MiB more memory are in use than before;"
            f" {ALLOWANCE >> 20} may be"
        )
    said += [
        f"{whose}: {after['objects'][kind]} {kind} objects outlive their transport"
        for kind in MORTAL
        if after["objects"].get(kind)
    ]
    said += [
        f"{whose}: {number} {kind} objects are left, and there were"
        f" {before['objects'].get(kind, 0)} before"
        for kind, number in after["objects"].items()
        if kind not in MORTAL and number > before["objects"].get(kind, 0)
    ]
    return said
