"""The trust map as a Mermaid flowchart: text that GitHub, GitLab and many wikis draw.

All but letters, digits and a few marks is written as ``#NUMBER;``, Mermaid's own way to write a
character: so no name can end a label, or begin anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from siptls.cli.mapboxes import Box, Group, Look, MapBoxes
from siptls.trust.trustmap import TrustMap

__all__ = ["mermaid"]

_PLAIN = frozenset(" .-_,:()/+•…")
_STYLES = {
    Look.OURS: "fill:#dbeafe,stroke:#1d4ed8,color:#111827",
    Look.PARTNER: "fill:#dcfce7,stroke:#15803d,color:#111827",
    Look.STRANGERS: "fill:#fef3c7,stroke:#b45309,color:#111827,stroke-dasharray:5 4",
    Look.CA: "fill:#ede9fe,stroke:#6d28d9,color:#111827",
    Look.BLOCKED: "fill:#fee2e2,stroke:#b91c1c,color:#111827",
}


def mermaid(trust_map: TrustMap) -> str:
    """Draw a trust map as the text of a Mermaid flowchart, with a line break at its end."""
    boxes = MapBoxes.of(trust_map)
    lines = ["flowchart LR", *_groups(boxes)]
    if boxes.blocked is not None:
        lines.append(f'  blocked["{_label(boxes.blocked, "blocked")}"]:::blocked')
    lines += [f"  classDef {look} {style}" for look, style in _STYLES.items()]
    return "\n".join(lines) + "\n"


def _groups(boxes: MapBoxes) -> Iterator[str]:
    ours: list[str] = []
    for place, group in enumerate(boxes.ours, 1):
        ca = f"ourca{place}"
        yield from _ca(ca, group)
        for box in group.parties:
            ours.append(f"ours{len(ours) + 1}")
            yield _node(ours[-1], box)
            if group.ca is not None:
                yield f"  {ca} -->|vouches for| {ours[-1]}"
    count = 0
    for place, group in enumerate(boxes.others, 1):
        ca = f"ca{place}"
        yield from _ca(ca, group)
        for box in group.parties:
            count += 1
            party = f"party{count}"
            yield _node(party, box)
            if group.ca is not None:
                yield f"  {ca} -->|vouches for| {party}"
            line = "-. blocked .-" if box.is_blocked else "---"
            yield f"  {ours[0]} {line} {party}"


def _ca(key: str, group: Group) -> Iterator[str]:
    if group.ca is not None:
        yield f'  {key}(["{_label(group.ca)}"]):::ca'


def _node(key: str, box: Box) -> str:
    look = Look.BLOCKED if box.is_blocked else box.look
    return f'  {key}["{_label(box)}"]:::{look}'


def _label(box: Box, heading: str = "") -> str:
    lines = [*([heading] if heading else []), *box.names, *box.details]
    return "<br/>".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    line = text.strip()
    # At the beginning of a label even a digit or a dash may make a list of it.
    begin = "".join(c if c.isascii() and c.isalpha() else f"#{ord(c)};" for c in line[:1])
    return begin + "".join(
        c if (c.isascii() and c.isalnum()) or c in _PLAIN else f"#{ord(c)};" for c in line[1:]
    )
