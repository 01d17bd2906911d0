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
    """

    TRUSTED = 0
    REFUSED = 1
    USAGE = 2
    NETWORK = 3
    WARNED = 4
