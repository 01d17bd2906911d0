"""Options: what several commands are given in the same words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

__all__ = ["FILE", "as_json", "as_moment", "at"]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def as_moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime:
    """Read a date, or a date and a time, as in ISO 8601; UTC if it names no zone.

    Returns:
        It; now if there is none. Aware.
    """
    if value is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        moment.astimezone(UTC)  # the first and the last day may have no such time
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{value!r} is no date such as 2027-03-15 or 2027-03-15T12:00Z"
        ) from error
    return moment


at = click.option(
    "--at",
    "now",
    metavar="DATE",
    callback=as_moment,
    help="Judge as of this date (ISO 8601; UTC). By default it is now.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
