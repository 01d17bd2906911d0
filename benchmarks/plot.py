"""The ratios as a picture: a bar for the median, a line for the range."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from rounds import Ratio

__all__ = ["plot"]


def plot(path: Path, title: str, ratios: Sequence[tuple[str, Ratio]]) -> None:
    """Draw how siptls compares; to the right of 1 it is better.

    Args:
        path: Where the SVG goes.
        title: Above it.
        ratios: What was compared, and what came of it.
    """
    mpl.rcParams["svg.hashsalt"] = "siptls"  # the same data give the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(ratios) + 1.2), layout="constrained")
    for place, (_, ratio) in enumerate(reversed(ratios)):
        median = ratio.median
        axes.barh(place, median, height=0.6, color="#2a6f97" if median >= 1 else "#c9a227")
        axes.plot([min(ratio.ratios), max(ratio.ratios)], [place, place], color="#1b1b1b", lw=1.2)
        axes.annotate(
            f"{median:.2f}",
            (max(ratio.ratios), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.axvline(1, color="#1b1b1b", lw=0.8, ls="--")
    axes.set_yticks(range(len(ratios)), [what for what, _ in reversed(ratios)], fontsize=9)
    axes.set_xlim(0, 1.15 * max(max(ratio.ratios) for _, ratio in ratios))
    axes.set_xlabel("siptls beside the other: median and range")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
