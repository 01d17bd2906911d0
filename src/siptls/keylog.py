"""KeyLog: a file with the keys of connections, for Wireshark and its like (SSLKEYLOGFILE format).

Whoever reads it can read all that passes, now and from what was recorded before; so it is written
only where ``keylog=`` names a file, never because of the environment, and the log warns of it.

The file is opened for each line, so that nothing is kept open, and one that is moved away is made
anew. It must be a regular file of ours that nobody else can read; one that is not there is made so.
A link is not followed: who may write into the folder would choose where the keys go.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from siptls.arguments import kind_of
from siptls.errors import ConfigurationError
from siptls.journal import about
from siptls.journal import log as _log

__all__ = ["KeyLog", "open_keylog"]

# A named pipe that nobody reads would be waited for without O_NONBLOCK; it is refused after.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyLog:
    """Appends the lines of a key log to a file.

    It may be called from any thread. It raises nothing of what the system may say.

    Args:
        path: The file.

    Raises:
        ConfigurationError: It cannot be written, or others could read it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise ConfigurationError(f"keylog= is a path, not {kind_of(path)}")
        self._named = os.fsdecode(path)
        self._fails = False
        try:
            # Whole: the program may go to another folder, and the keys must not. Nothing of it is
            # made shorter, for behind a link .. is not what it seems.
            self.path = os.path.join(os.getcwd(), self._named)  # noqa: PTH109, PTH118  see above
            """Where it is."""
            os.close(_open(self.path))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigurationError(
                f"keylog= cannot write keys to {self._named!r}: {why}; name a file of your own that"
                " nobody else can read (mode 600), or one that is not there yet"
            ) from error
        _log.warning(
            "the keys of connections are written to %s: whoever reads that file can read all that"
            " passes; remove it when you have found what you look for, and leave keylog= out",
            self._named,
            extra=about("keylog_opened"),
        )

    def __call__(self, line: bytes) -> None:
        """Append a line. What cannot be written is told, and changes nothing else."""
        try:
            self._write(line)
        except (OSError, ValueError) as error:
            if not self._fails:
                self._fails = True
                _log.error(
                    "the key log lacks keys from now on: %s cannot be written: %s",
                    self._named,
                    error,
                    extra=about("keylog_failed", error=error),
                )
        else:
            self._fails = False

    def _write(self, line: bytes) -> None:
        number = _open(self.path)
        try:
            data = line + b"\n"
            if os.write(number, data) != len(data):  # as on a full disk
                raise OSError("a line was cut")
        finally:
            os.close(number)


def _open(path: str) -> int:
    """Open the file, or make it.

    Raises:
        OSError: The system does not let us.
        ValueError: It is not as it must be.
    """
    if "\0" in path:
        raise ValueError("the path holds a null byte")
    if Path(path).is_symlink():  # O_NOFOLLOW sees to it, but in words that nobody understands
        raise ValueError("it is a symbolic link")
    number = os.open(path, _FLAGS, _MODE)
    fault = _fault(os.fstat(number))
    if fault is not None:
        os.close(number)
        raise ValueError(fault)
    return number


def _fault(found: os.stat_result) -> str | None:
    """Say why keys must not go into a file; None if they may."""
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    if found.st_mode & _OTHERS:
        return f"others have access to it (mode {stat.S_IMODE(found.st_mode):o})"
    return None


def open_keylog(path: Any) -> KeyLog | None:
    """Give the key log for ``keylog=``; None where no keys are written.

    Raises:
        ConfigurationError: As for `KeyLog`.
    """
    return None if path is None else KeyLog(path)
