"""``siptls lint``: the trust map of a policy file, and what will break when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.text import Text

from siptls.cli.exits import Exit
from siptls.cli.mapboxes import Box, Group, MapBoxes
from siptls.cli.options import FILE, as_json, at
from siptls.cli.policyreport import PolicyReport, report_on
from siptls.cli.printout import console, print_json
from siptls.trust.exhibits import JudgedExhibit
from siptls.trust.findings import Finding, Severity
from siptls.trust.plain import as_line

__all__ = ["lint"]

_STATUS = {
    Severity.ERROR: Exit.REFUSED,
    Severity.WARNING: Exit.WARNED,
    Severity.NOTE: Exit.TRUSTED,
    None: Exit.TRUSTED,
}
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_MAX_DAYS = 36500


@click.command("lint")
@click.argument("policy", type=FILE)
@at
@click.option(
    "--days",
    type=click.IntRange(1, _MAX_DAYS),
    default=30,
    show_default=True,
    help="Warn so many days before something ends.",
)
@click.option(
    "--credential",
    "credentials",
    type=FILE,
    multiple=True,
    help="A file with a chain of ours, to be held against the policy. Repeatable.",
)
@click.option(
    "--chain",
    "chains",
    type=FILE,
    multiple=True,
    help="A file with a peer's chain, to be held against the policy. Repeatable.",
)
@as_json
def lint(  # noqa: PLR0913, PLR0917  one for each option, and click passes them by name
    policy: Path,
    now: datetime,
    days: int,
    credentials: tuple[Path, ...],
    chains: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Look for what will break, and for what is believed without being meant.

    POLICY is a policy file. The exit status is 0 if nothing fails, 4 if something will, or may, and
    1 if something fails already.
    """
    report = report_on(policy, now, days=days, credentials=credentials, chains=chains)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    click.get_current_context().exit(_STATUS[report.severity])


def _print(report: PolicyReport) -> None:
    out = console()
    for line in _tree(report):
        out.print(line)
    for judged in report.exhibits:
        out.print(_exhibit(judged))
    for finding in report.findings:
        out.print()
        out.print(_finding(finding))
    out.print()
    out.print(Text(report.summary, style="bold"))


def _tree(report: PolicyReport) -> Iterator[Text]:
    """Give the trust map as lines. Rich's own `Tree` cuts what the page is too narrow for."""
    boxes = MapBoxes.of(report.trust_map)
    at = report.now.isoformat(timespec="seconds")
    yield Text(f"{as_line(report.policy)} at {at}", style="bold")
    groups = [_of_group(group, "we") for group in boxes.ours]
    groups += [_of_group(group, "") for group in boxes.others]
    if boxes.blocked is not None:
        groups.append([Text(f"blocked: {', '.join(boxes.blocked.names)}", style="red")])
    yield from _drawn(groups)


def _of_group(group: Group, who: str) -> list[Text]:
    title = "no CA" if group.ca is None else " ".join((*group.ca.names, *_also(group.ca)))
    parties = []
    for box in group.parties:
        names = Text(", ".join(box.names), style="bold")
        parties.append([Text(f"{who}: ") + names if who else names, *map(Text, box.details)])
    return [Text(title if group.ca is None else f"{title} may vouch for"), *_drawn(parties)]


def _drawn(branches: Sequence[Sequence[Text]]) -> Iterator[Text]:
    """Draw branches one below another, each of some lines."""
    for left, branch in zip(reversed(range(len(branches))), branches, strict=True):
        first, below = ("├── ", "│   ") if left else ("└── ", "    ")
        for number, line in enumerate(branch):
            yield Text(below if number else first) + line


def _also(box: Box) -> list[str]:
    return [f"({', '.join(box.details)})"] if box.details else []


def _exhibit(judged: JudgedExhibit) -> Text:
    until = judged.until
    ends = "" if until is None else f", until {until.isoformat(timespec='seconds')}"
    told = ", ".join(f"as a {role} {one.code}" for role, one in judged.decisions.items())
    return Text(f"{as_line(judged.exhibit.name)}: {told}{ends}")


def _finding(finding: Finding) -> Text:
    when = "" if finding.when is None else f" ({finding.when.date().isoformat()})"
    expected = f"; expected {finding.expected}" if finding.expected else ""
    return Text.assemble(
        (str(finding.severity), _STYLES[finding.severity]),
        (f" {finding.code}", "bold"),
        f"{when}\n  {finding.about} {finding.found}{expected}\n",
        ("  to do: ", "dim"),
        finding.advice,
    )
