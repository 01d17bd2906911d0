"""``siptls pki``: certificates for trying things out."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from siptls.cli.folder import Document, write_folder, write_new
from siptls.cli.laboratory import MARK, Laboratory, issue, make_laboratory, read_ca
from siptls.errors import ConfigurationError
from siptls.testing import pem
from siptls.trust.names import printable

__all__ = ["pki"]

_NEW = click.Path(path_type=Path)
_DAY = timedelta(days=1)
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]*", re.ASCII | re.IGNORECASE)
_days = click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="For how many days it is valid.",
)


@click.group()
def pki() -> None:
    """Make certificates for trying things out. Never use them in production."""


@pki.command()
@click.argument("folder", metavar="DIR", type=_NEW)
@click.option("--domain", default="contoso.com", show_default=True, help="Our own SIP domain.")
@click.option(
    "--partner", default="fabrikam.com", show_default=True, help="That of a federation partner."
)
@_days
def init(folder: Path, domain: str, partner: str, days: int) -> None:
    """Make a lab in DIR, which is new or empty.

    It has two companies with a CA each, a server, a client, a policy file for each company, and
    impostors: certificates that are refused, each for another reason.
    """
    lab = make_laboratory(domain, partner, now=datetime.now(UTC), days=days)
    write_folder(folder, lab.documents)
    click.echo(_told(folder, lab))


@pki.command("issue")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--ca",
    type=click.Choice(["enterprise", "partner"]),
    default="enterprise",
    show_default=True,
    help="Who issues it.",
)
@click.option("--out", type=_NEW, help="The file; by default NAME.pem in DIR.")
@click.option(
    "--purposes",
    default="serverAuth,clientAuth",
    show_default=True,
    help="Its extended key usage, with commas: serverAuth, clientAuth, sipDomain, any, an OID; or"
    " none.",
)
@_days
def issue_more(  # noqa: PLR0913  a certificate has as many fields
    *, folder: Path, names: tuple[str, ...], ca: str, out: Path | None, purposes: str, days: int
) -> None:
    """Issue a certificate from a CA of the lab in DIR.

    NAME is sip:contoso.com for a SIP domain, or a DNS name. The file gets the certificate and its
    key.
    """
    now = datetime.now(UTC)
    issuer = read_ca(folder, ca, now=now)
    asked = None if purposes == "none" else [one.strip() for one in purposes.split(",")]
    path = folder / _file_name(names[0]) if out is None else out
    credential = issue(issuer, names, begin=now - _DAY, ends=now + days * _DAY, purposes=asked)
    write_new(path, Document(path.name, pem(credential), "", is_secret=True))
    ends = credential.chain[0].not_valid_after_utc
    click.echo(f"{path}: {', '.join(names)}, of {issuer.name!r}, until {ends:%Y-%m-%d}")


def _file_name(name: str) -> str:
    stem = name.removeprefix("sips:").removeprefix("sip:")
    if not _FILE_NAME.fullmatch(stem):
        raise ConfigurationError(
            f"{printable(name)!r} makes no good file name: say which file with --out"
        )
    return f"{stem}.pem"


def _told(folder: Path, lab: Laboratory) -> str:
    there = shlex.quote(str(folder))
    check = f"siptls check sip:{lab.domain} --policy {there}/policy.toml"
    where = "--connect 127.0.0.1:5061"
    width = max(len(one.name) for one in lab.documents)
    files = "\n".join(f"  {one.name:{width}}  {one.about}" for one in lab.documents)
    return f"""\
{MARK}, valid until {lab.ends:%Y-%m-%d}, in {folder}:
{files}

Begin with a server, from a clone of siptls:
  python examples/mtls_server.py {there}
and in another terminal look at it, as a client and as an impostor:
  {check} --credential {there}/client.pem {where}
  {check} --credential {there}/impostors/expired.pem {where}
One more certificate:
  siptls pki issue {there} sip:phone.{lab.domain}"""
