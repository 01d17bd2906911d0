"""Printout: what was found, on a terminal, in a file, or as JSON.

All that is shown may hold what a stranger has sent. So it passes `printable`, which leaves no
control character, and is given to rich as `Text`, which is never read as markup. Long lines are
left to the terminal: nothing is cut off where the output is a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from siptls.cli.conclusion import Conclusion
from siptls.cli.examination import Examination, Step, Visit
from siptls.cli.exits import Exit
from siptls.cli.facts import Facts
from siptls.cli.judged import Judged, NameRow
from siptls.cli.visiting import Tell
from siptls.trust.names import listed, printable

__all__ = ["Printout", "console", "print_json", "waiting"]

# Characters of a line, names, and certificates that are shown; JSON has all of them.
_MAX_LINE, _MAX_NAMES, _MAX_CHAIN = 4000, 64, 16
_STYLES = {Exit.TRUSTED: "bold green", Exit.REFUSED: "bold red"}
_LABEL = 11


def print_json(data: Mapping[str, Any]) -> None:
    """Print plain data as JSON in ASCII, and nothing else."""
    click.echo(json.dumps(data, indent=2))


def console() -> Console:
    """Give standard output; nothing that is printed there is read as markup."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def waiting() -> Iterator[Tell]:
    """Show on the terminal what is waited for; give what is to be told.

    It is on standard error, and only if that is a terminal.
    """
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield lambda _: None
        return
    with terminal.status("") as status:
        yield lambda what: status.update(Text(printable(what, _MAX_LINE)))


class Printout:
    """Prints on standard output."""

    def __init__(self) -> None:
        self._console = console()

    def examination(self, found: Examination) -> None:
        """Print what was found on the network."""
        self._line(f"check {found.target}", style="bold")
        self._fact("expected", str(found.expected))
        self._fact("policy", found.policy)
        self._fact("we show", found.ours[0].description if found.ours else "no certificate")
        self._fact("addresses", found.resolver)
        self._step(found.resolution)
        for visit in found.visits:
            self._visit(visit)

    def judged(self, judged: Judged) -> None:
        """Print what was shown, and what the policy has made of it."""
        if judged.chain:
            self._line("  certificates", style="bold")
        for number, one in enumerate(judged.chain[:_MAX_CHAIN]):
            self._certificate("the peer's" if number == 0 else "sent along", one)
        if judged.anchor is not None:
            self._certificate("anchor", judged.anchor)
        if judged.names:
            self._line("  presented names", style="bold")
        several = len(judged.rules) > 1
        for row in judged.names[:_MAX_NAMES]:
            self._line(f"    {_told(row, several=several)}", style="" if row.counts_as else "dim")
        if len(judged.names) > _MAX_NAMES:
            self._line(f"    and {len(judged.names) - _MAX_NAMES} more, in --json")
        self._line("  decision", style="bold")
        for line in judged.decision.explain().split("\n"):
            self._line(f"    {line}")

    def conclusion(self, conclusion: Conclusion) -> None:
        """Print the last line."""
        self._line("")
        text = Text(printable(conclusion.line, _MAX_LINE))
        text.stylize(_STYLES.get(conclusion.exit, "bold yellow"), 0, len(conclusion.word) + 1)
        self._console.print(text)

    def heading(self, what: str, facts: Mapping[str, str]) -> None:
        """Print what was asked, and by what it is judged."""
        self._line(what, style="bold")
        for label, text in facts.items():
            self._fact(label, text)

    # ------------------------------------------------------------ inside

    def _visit(self, visit: Visit) -> None:
        self._line(visit.where, style="bold")
        for step in visit.steps:
            self._step(step)
        if visit.judged is not None:
            self.judged(visit.judged)

    def _step(self, step: Step) -> None:
        style = "" if step.error is None else "red"
        label = f"{step.name:<{_LABEL}}"
        self._line(f"  {label} {step.seconds * 1000:7.1f} ms  {step.text}", style=style)

    def _certificate(self, label: str, one: Facts) -> None:
        purposes = "any purpose" if one.purposes is None else listed(one.purposes) or "no purpose"
        self._line(f"    {label:<{_LABEL}}{one.description}")
        indent = " " * (4 + _LABEL)
        self._line(f"{indent}issued by {'itself' if one.is_self_signed else one.issuer}")
        self._line(f"{indent}{_term(one)}; for {purposes}")

    def _fact(self, label: str, text: str) -> None:
        self._line(f"  {label:<{_LABEL}} {text}")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(printable(text, _MAX_LINE), style=style))


def _term(one: Facts) -> str:
    """Tell from when to when a certificate is valid."""
    if one.validity is None or one.days is None:
        return "from and to dates that cannot be decoded"
    begin, end = (when.date().isoformat() for when in one.validity)
    left = f"{one.days} days left" if one.days >= 0 else f"ended {-one.days} days ago"
    return f"from {begin} to {end}, {left}"


def _told(row: NameRow, *, several: bool) -> str:
    """Tell of a name; by whose rules, if there are several."""
    counted = row.counted
    rules = f", by {' and '.join(row.rules)}" if several else ""
    if not row.counts_as:
        return f"{counted.presented}: does not count{rules}: {counted.why}"
    believed = "" if row.believed else "; it is not believed"
    what = f"counts as {row.counts_as} {counted.name}"
    return f"{counted.presented}: {what}{rules}: {counted.why}{believed}"
