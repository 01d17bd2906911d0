"""Exits: what the exit status of a command says."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Exit"]


class Exit(IntEnum):
    """The exit statuses of all commands.

    Attributes:
        TRUSTED: All is as it should be.
        REFUSED: One side refuses the other; of `lint`, something fails now.
        USAGE: The arguments, or a file that they name, cannot be meant.
        NETWORK: Nobody was reached who could be judged.
        WARNED: Of `lint`: nothing fails now, but something will, or may.
        INTERRUPTED: Ctrl-C: nothing was found out. As a shell says it of SIGINT.
        UNREAD: Whoever was to read what is printed has gone. As a shell says it of SIGPIPE.
    """

    TRUSTED = 0
    REFUSED = 1
    USAGE = 2
    NETWORK = 3
    WARNED = 4
    INTERRUPTED = 130
    UNREAD = 141
