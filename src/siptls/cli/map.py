"""``siptls map``: the trust map of a policy file as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from siptls.cli.mapmermaid import mermaid
from siptls.cli.mapsvg import svg
from siptls.cli.options import FILE
from siptls.cli.policyreport import map_of_file
from siptls.errors import ConfigurationError
from siptls.trust.names import printable

__all__ = ["draw"]

_FORMATS = {"svg": svg, "mermaid": mermaid}
_SUFFIXES = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}


@click.command("map")
@click.argument("policy", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(_FORMATS)),
    help="By default what the suffix of the output says (.svg, .mmd), or mermaid.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Where the picture goes; standard output without it, or if it is -.",
)
def draw(policy: Path, form: str | None, output: Path | None) -> None:
    """Draw who may vouch for whom: our CA, our servers, partners, their CAs.

    POLICY is a policy file.
    """
    if output == Path("-"):
        output = None
    chosen = form or _by_suffix(output)
    picture = _FORMATS[chosen](map_of_file(policy))
    if output is None:
        click.echo(picture.encode(), nl=False)  # XML is UTF-8, whatever the terminal takes
        return
    try:
        output.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {printable(str(output))!r}: {error.strerror}"
        ) from error


def _by_suffix(output: Path | None) -> str:
    if output is None:
        return "mermaid"
    form = _SUFFIXES.get(output.suffix.lower())
    if form is None:
        known = ", ".join(_SUFFIXES)
        raise click.UsageError(
            f"the suffix of {printable(output.name)!r} is none of {known}: say --format svg, or"
            " --format mermaid"
        )
    return form
