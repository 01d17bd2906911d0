"""``siptls explain``: what a policy makes of a certificate, without a network."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from siptls.cli.chainfile import read_chain
from siptls.cli.conclusion import conclude_judged
from siptls.cli.judged import Judged
from siptls.cli.options import FILE, as_json, at
from siptls.cli.printout import Printout, print_json
from siptls.errors import ConfigurationError
from siptls.policyfile import load_policy
from siptls.trust.evidence import Evidence, Role
from siptls.trust.names import ReferenceIdentity
from siptls.trust.policy import judge

__all__ = ["explain"]


def _as_expected(
    _: click.Context, __: click.Parameter, value: str | None
) -> ReferenceIdentity | None:
    if value is None:
        return None
    try:
        return ReferenceIdentity.parse(value)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error


@click.command("explain")
@click.argument("file", metavar="CERT.pem", type=FILE)
@click.option("--policy", "policy_file", type=FILE, required=True, help="The policy file.")
@click.option(
    "--as",
    "role",
    type=click.Choice([str(role) for role in Role]),
    required=True,
    help="What the peer is that shows it.",
)
@click.option(
    "--expect",
    "expected",
    metavar="NAME",
    callback=_as_expected,
    help="The SIP URI or domain that is expected. By default nobody in particular is.",
)
@at
@as_json
def explain(  # noqa: PLR0913, PLR0917  one for each option
    file: Path,
    policy_file: Path,
    role: str,
    expected: ReferenceIdentity | None,
    now: datetime,
    as_json: bool,
) -> None:
    """Say what a policy makes of a certificate: the peer's own first, then its intermediates.

    Exit status: 0 trusted, 1 refused, 2 usage.
    """
    chain = read_chain(file)
    policy = load_policy(policy_file)
    evidence = Evidence(chain, Role(role), now=now, reference=expected)
    judged = Judged.by(policy, judge(policy, evidence), evidence)
    conclusion = conclude_judged(judged)
    if as_json:
        asked = {"file": str(file), "policy": str(policy_file), "role": role}
        print_json({**conclusion.to_dict(), **asked, **judged.to_dict()})
    else:
        printout = Printout()
        facts = {
            "expected": "nobody in particular" if expected is None else str(expected),
            "policy": str(policy_file),
            "the peer": f"a {role}",
            "judged at": now.isoformat(timespec="seconds"),
        }
        printout.heading(f"explain {file}", facts)
        printout.judged(judged)
        printout.conclusion(conclusion)
    click.get_current_context().exit(conclusion.exit)
