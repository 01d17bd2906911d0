"""The commands, and what becomes of the errors that they raise."""

from __future__ import annotations

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

__all__ = ["commands", "run"]


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


def run() -> NoReturn:
    """Run the command that the arguments name, and exit with its status."""
    try:
        commands.main(prog_name="siptls")
    except SIPTLSError as error:
        failed = _Failed(str(error))
        failed.show()
        raise SystemExit(failed.exit_code) from error
    raise SystemExit(Exit.TRUSTED)
