"""The command line: ``siptls``, or ``python -m siptls``.

It needs the extra ``cli``, and nothing of the library needs it. Each command is in a module of its
name, which reads arguments and prints; what it finds out is in another, and prints nothing.
"""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line with the arguments of this process, and exit."""
    try:
        from siptls.cli.commands import run  # noqa: PLC0415  the extra may not be there
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write(
            f"siptls: the command line needs {error.name}: pip install 'siptls[cli]'\n"
        )
        sys.exit(2)
    run()
