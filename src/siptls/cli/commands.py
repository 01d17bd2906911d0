"""The commands, and what becomes of the errors that they raise."""

from __future__ import annotations

import io
import sys
from typing import NoReturn

import click

import siptls
from siptls.cli.check import check
from siptls.cli.exits import Exit
from siptls.cli.explain import explain
from siptls.cli.lint import lint
from siptls.cli.map import draw
from siptls.cli.pki import pki
from siptls.errors import SIPTLSError
from siptls.trust.names import printable

__all__ = ["commands", "run"]

# Characters of a line of an error.
_MAX_LINE = 4000


@click.group("siptls", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(siptls.__version__, prog_name="siptls")
def commands() -> None:
    """Trusted SIP transport: look at a peer, a certificate, a policy."""


commands.add_command(check)
commands.add_command(explain)
commands.add_command(lint)
commands.add_command(draw)
commands.add_command(pki)


class _Failed(click.ClickException):
    """An error of siptls: a sentence, of a file one for each fault, and no traceback."""

    exit_code = Exit.USAGE

    def format_message(self) -> str:
        """Give it as lines that a terminal can be shown: a file of others may be quoted."""
        return "\n".join(printable(line, _MAX_LINE) for line in self.message.split("\n"))


def run() -> NoReturn:
    """Run the command that the arguments name, and exit with its status.

    Click by itself would exit with 1 where it is interrupted or nobody reads what is printed, which
    says here that somebody is refused.
    """
    failed: click.ClickException
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is no failure
            stream.reconfigure(errors="backslashreplace")
    try:
        status = commands.main(prog_name="siptls", standalone_mode=False)
    except click.ClickException as error:
        failed = error
    except SIPTLSError as error:
        failed = _Failed(str(error))
    except click.Abort:
        click.echo("interrupted", err=True)
        raise SystemExit(Exit.INTERRUPTED) from None
    except SystemExit:  # so click and rich leave where a pipe is closed, and only there
        raise SystemExit(Exit.UNREAD) from None
    except OSError as error:
        where = "standard output" if error.filename is None else repr(error.filename)
        failed = _Failed(f"cannot go on with {where}: {error.strerror or error}")
    else:
        raise SystemExit(status or Exit.TRUSTED)
    failed.show()
    raise SystemExit(failed.exit_code)
