"""``siptls check``: whether we trust a peer, and it us, over the network."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path

import click

from siptls.cli.conclusion import conclude
from siptls.cli.options import FILE, as_json
from siptls.cli.printout import Printout, print_json, waiting
from siptls.cli.visiting import Enquiry, examine
from siptls.errors import ConfigurationError
from siptls.policyfile import load_policy
from siptls.transports.dns import DNSResolver
from siptls.transports.resolution import Resolver, SystemResolver, check_host, check_port
from siptls.trust.authority import Authority
from siptls.trust.names import ReferenceIdentity, printable
from siptls.trust.policy import TrustPolicy
from siptls.trust.public import AnyDomain
from siptls.wire.credential import Credential

__all__ = ["check", "resolver_for"]

Place = tuple[str, int | None]
_PLACE = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")
_LONGEST = 600


def _as_place(_: click.Context, __: click.Parameter, value: str | None) -> Place | None:
    if value is None:
        return None
    found = _PLACE.fullmatch(value)
    if found is None:
        raise click.BadParameter(
            f"{printable(value)!r} is no place such as 192.0.2.1:5061, sip1.contoso.com or"
            " [2001:db8::1]:5061"
        )
    host, port = found["ipv6"] or found["host"], found["port"]
    try:
        check_host(host)
        return host, None if port is None else check_port(int(port))
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error


def _as_target(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        ReferenceIdentity.parse(value)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error
    return value


def _as_seconds(_: click.Context, __: click.Parameter, value: float) -> float:
    if math.isnan(value):  # which is in any range
        raise click.BadParameter("nan is no time: give seconds, such as 5")
    return value


def resolver_for(timeout: float) -> tuple[Resolver, str]:
    """Give the resolver that can do most here, and say which it is.

    Args:
        timeout: Seconds for one question.
    """
    try:
        return DNSResolver(timeout=timeout), "by DNS: NAPTR, SRV, AAAA, A (RFC 3263)"
    except ConfigurationError as error:  # no dnspython, or no nameserver
        return SystemResolver(), f"by this system, which knows no NAPTR and no SRV: {error}"


@click.command("check")
@click.argument("target", metavar="URI", callback=_as_target)
@click.option(
    "--policy",
    "policy_file",
    type=FILE,
    help="A policy file. Without it the public CAs are believed, for the name in the URI.",
)
@click.option(
    "--credential",
    "credential_files",
    type=FILE,
    multiple=True,
    help="Our own certificate, chain and key (PEM); again for each further file.",
)
@click.option(
    "--connect",
    "place",
    metavar="HOST[:PORT]",
    callback=_as_place,
    help="Where the peer is. It never changes whom we expect.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, _LONGEST, min_open=True),
    default=5.0,
    callback=_as_seconds,
    show_default=True,
    metavar="SECONDS",
    help="For each: a question to DNS, a connection, a handshake, an answer.",
)
@click.option("--no-options", is_flag=True, help="Do not send OPTIONS.")
@as_json
def check(  # noqa: PLR0913, PLR0917  one for each option
    target: str,
    policy_file: Path | None,
    credential_files: tuple[Path, ...],
    place: Place | None,
    timeout: float,
    no_options: bool,
    as_json: bool,
) -> None:
    """Say whether the server of a SIP URI is trusted, and takes us; and if not, why.

    Exit status: 0 trusted, 1 refused (by us or by the peer), 2 usage, 3 network.
    """
    policy, policy_name = _policy(policy_file)
    credential = Credential.from_pem(*credential_files) if credential_files else None
    resolver, resolver_name = resolver_for(timeout)
    if place is not None:
        resolver_name = "as --connect says"
    enquiry = Enquiry(
        target=target,
        policy=policy,
        policy_name=policy_name,
        credential=credential,
        resolver=resolver,
        resolver_name=resolver_name,
        place=place,
        timeout=timeout,
        asks=not no_options,
    )
    with waiting() as tell:
        found = asyncio.run(examine(enquiry, tell))
    conclusion = conclude(found)
    if as_json:
        print_json({**conclusion.to_dict(), **found.to_dict()})
    else:
        printout = Printout()
        printout.examination(found)
        printout.conclusion(conclusion)
    click.get_current_context().exit(conclusion.exit)


def _policy(file: Path | None) -> tuple[TrustPolicy, str]:
    if file is None:
        policy = AnyDomain(Authority.public())
        return policy, "no --policy, so that the public CAs are believed, for the expected name"
    return load_policy(file), str(file)
