"""The trust map as a picture: SVG, without any script, font or file from elsewhere.

How it thinks. From left to right: our CA, our domains, our partners, their CAs. Each party has one
CA, so that parties are stacked by CA, and no two lines ever cross. One line, the trunk, leads from
us along the top; where the stack would be too high for a page it is cut into lanes, and from the
trunk a branch leads down beside each. A CA with more parties than a lane holds is drawn again.

Boxes have a fill of their own, and all else is of a grey that can be read on white and on black.
Fonts are those that each viewer has; so that text fits, its width is reckoned rather too large.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

from attrs import field, frozen

from siptls.cli.mapboxes import Box, Group, Look, MapBoxes
from siptls.trust.trustmap import TrustMap

__all__ = ["svg"]

_GREY = "#767676"  # 4.5:1 on white and 4.6:1 on black: WCAG 2.2 §1.4.3 asks for 4.5:1
_RED = "#dc2626"
_INK, _SMALL_INK = "#111827", "#374151"
_COLOURS = {  # fill, stroke
    Look.OURS: ("#dbeafe", "#1d4ed8"),
    Look.PARTNER: ("#dcfce7", "#15803d"),
    Look.STRANGERS: ("#fef3c7", "#b45309"),
    Look.CA: ("#ede9fe", "#6d28d9"),
    Look.BLOCKED: ("#fee2e2", "#b91c1c"),
}
_MONO = "monospace"
_SANS = "sans-serif"


@frozen
class _Font:
    """A font: its family, its size, the height of a line, and the width of a character."""

    family: str
    size: float
    line: float
    weight: str = ""

    @property
    def column(self) -> float:
        return self.size * 0.61  # of DejaVu Sans Mono 0.602; the letters of a sans-serif need less


_NAME = _Font(_MONO, 13, 18, ' font-weight="600"')
_CA_NAME = _Font(_SANS, 13, 18, ' font-weight="600"')
_DETAIL = _Font(_SANS, 11, 15)
_HEADING = _Font(_SANS, 12, 18, ' font-weight="600"')
_MAX_NAME, _MAX_DETAIL = 40, 50  # characters; more are left out in the middle
_PAD = 10.0
_MARGIN = 24.0
_GAP = 12.0  # between boxes of a stack
_ARROW = 70.0  # from a CA to its parties
_BRANCH = 46.0  # from us to the first lane, and within a lane from its branch to its parties
_TRUNK = 16.0  # below the top of our box
_BELOW_TRUNK = 26.0
_BRACKET = 26.0  # of an arrow's way, before a CA's parties part
# A page that is looked at on a screen: lanes are as high as this, or higher if there are so many
# that the picture would be more than this much wider than high.
_MIN_LANE, _ASPECT = 900.0, 1.7
_LEGEND = (
    "An arrow: this CA may vouch for these domains and what is below them, and for nothing else.",
    "A line: messages may pass.",
)


@frozen
class _Column:
    """Where boxes stand one below another."""

    x: float
    width: float


@frozen
class _Placed:
    """A box that has its place."""

    box: Box
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


@frozen
class _Stack:
    """Groups one below another: their parties in one column, their CAs in another."""

    parties: tuple[_Placed, ...]
    cas: tuple[tuple[_Placed, tuple[_Placed, ...]], ...]
    height: float


def svg(trust_map: TrustMap) -> str:
    """Draw a trust map as the text of an SVG file, with a line break at its end."""
    return _Picture(MapBoxes.of(trust_map)).text()


@frozen
class _Picture:
    """All that is drawn, and where."""

    boxes: MapBoxes
    _marks: list[str] = field(factory=list, init=False)

    def text(self) -> str:
        boxes = self.boxes
        top = _MARGIN + 2 * _HEADING.line
        ours_width = _width(box for group in boxes.ours for box in group.parties)
        ca_width = _width(group.ca for group in boxes.ours if group.ca is not None)
        left = _MARGIN + (ca_width + _ARROW if ca_width else 0)
        ours = _stack(boxes.ours, _Column(left, ours_width), _Column(_MARGIN, ca_width), top)
        self._draw(ours, is_left=True)
        right, bottom = left + ours_width, top + ours.height
        if boxes.blocked is not None:
            width, height = _size(boxes.blocked)
            blocked = _Placed(boxes.blocked, left, bottom + 40, max(width, ours_width), height)
            self._heading("blocked, whoever vouches", left, blocked.y - 8)
            self._box(blocked)
            right, bottom = max(right, blocked.right), blocked.bottom
        if ca_width:
            self._heading("our CA", _MARGIN, top - 8)
        self._heading("we", left, top - 8)
        edge = left + ours_width
        if boxes.others:
            far, low = self._lanes(edge, max(right, edge) + _BRANCH, top)
            right, bottom = max(right, far), max(bottom, low)
        for line in (*_LEGEND, *(f"Not shown: {name}" for name in boxes.unknown)):
            bottom += 18
            self._text(line, _MARGIN, bottom + 14, _DETAIL, _GREY)
            right = max(right, _MARGIN + _columns(line) * _DETAIL.column)
        return self._file(right + _MARGIN, bottom + 14 + _MARGIN)

    def _file(self, width: float, height: float) -> str:
        size = f"{_number(width)} {_number(height)}"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}"'
            f' width="{_number(width)}" height="{_number(height)}" role="img">'
        )
        return "\n".join(
            [
                head,
                "<title>Trust map</title>",
                "<desc>Which CA may vouch for whom, as siptls map draws it.</desc>",
                '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8"'
                f' markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{_GREY}"/>'
                "</marker></defs>",
                *self._marks,
                "</svg>",
                "",
            ]
        )

    # ------------------------------------------------------------ lanes of partners

    def _lanes(self, from_x: float, x: float, top: float) -> tuple[float, float]:
        """Draw everybody else; give how far it reaches, to the right and down."""
        groups = self.boxes.others
        width = _width(box for group in groups for box in group.parties)
        ca_width = _width(group.ca for group in groups if group.ca is not None)
        lane_width = _BRANCH + width + (_ARROW + ca_width if ca_width else 0)
        trunk, below = top + _TRUNK, top + _TRUNK + _BELOW_TRUNK
        lanes = _cut(groups, lane_width + _BRANCH)
        right, bottom, branch = from_x, below, x
        for number, lane in enumerate(lanes):
            branch = x + number * (lane_width + _BRANCH)
            parties = _Column(branch + _BRANCH, width)
            cas = _Column(parties.x + width + _ARROW, ca_width)
            stack = _stack(lane, parties, cas, below)
            self._line(f"M{_number(branch)} {_number(trunk)}V{_number(stack.parties[-1].middle)}")
            for party in stack.parties:
                self._branch(branch, party)
            self._draw(stack, is_left=False)
            right, bottom = branch + lane_width, max(bottom, below + stack.height)
            self._heading("partners", parties.x, top - 8)
            if ca_width:
                self._heading("their CAs", cas.x, top - 8)
        self._line(f"M{_number(from_x)} {_number(trunk)}H{_number(branch)}")
        if self.boxes.mode:
            self._heading(self.boxes.mode, x, top - 8 - _HEADING.line)
        return right, bottom

    def _branch(self, x: float, party: _Placed) -> None:
        colour, dash = (_RED, "5 4") if party.box.is_blocked else (_GREY, "")
        self._line(f"M{_number(x)} {_number(party.middle)}H{_number(party.x)}", colour, dash)

    # ------------------------------------------------------------ stacks, boxes, lines, text

    def _draw(self, stack: _Stack, *, is_left: bool) -> None:
        """Draw boxes, and the arrows from each CA to its parties."""
        for party in stack.parties:
            self._box(party)
        for ca, parties in stack.cas:
            self._box(ca)
            start = ca.right if is_left else ca.x
            fork = start + _BRACKET if is_left else start - _BRACKET
            ends = [party.middle for party in parties]
            if len(ends) > 1 or ends[0] != ca.middle:
                self._line(f"M{_number(start)} {_number(ca.middle)}H{_number(fork)}")
                low, high = min(*ends, ca.middle), max(*ends, ca.middle)
                self._line(f"M{_number(fork)} {_number(low)}V{_number(high)}")
                start = fork
            for party in parties:
                end = party.x if is_left else party.right
                path = f"M{_number(start)} {_number(party.middle)}H{_number(end)}"
                self._line(path, arrow=True)

    def _box(self, placed: _Placed) -> None:
        box = placed.box
        fill, stroke = _COLOURS[Look.BLOCKED if box.is_blocked else box.look]
        is_dashed = box.is_blocked or box.look in {Look.STRANGERS, Look.BLOCKED}
        dash = ' stroke-dasharray="5 4"' if is_dashed else ""
        radius = 14 if box.look is Look.CA else 3
        whole = escape("\n".join((*box.names, *box.details)))
        self._marks.append(
            f"<g><title>{whole}</title>"
            f'<rect x="{_number(placed.x)}" y="{_number(placed.y)}"'
            f' width="{_number(placed.width)}" height="{_number(placed.height)}" rx="{radius}"'
            f' fill="{fill}" stroke="{stroke}" stroke-width="1.5"{dash}/>'
        )
        x, y = placed.x + _PAD, placed.y + _PAD
        font = _CA_NAME if box.look is Look.CA else _NAME
        for name in box.names:
            y += _NAME.line
            line = _shortened(name, _MAX_NAME)
            self._text(line, x, y - 5, font, _INK)
        for detail in box.details:
            y += _DETAIL.line
            line = _shortened(detail, _MAX_DETAIL)
            self._text(line, x, y - 4, _DETAIL, _SMALL_INK)
        self._marks.append("</g>")

    def _heading(self, text: str, x: float, y: float) -> None:
        self._text(text, x, y, _HEADING, _GREY)

    def _line(self, path: str, colour: str = _GREY, dash: str = "", *, arrow: bool = False) -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        marker = ' marker-end="url(#arrow)"' if arrow else ""
        self._marks.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}{marker}/>'
        )

    def _text(self, text: str, x: float, y: float, font: _Font, colour: str) -> None:
        indent = (len(text) - len(text.lstrip())) * font.size * 0.3
        self._marks.append(
            f'<text x="{_number(x + indent)}" y="{_number(y)}" font-family="{font.family}"'
            f' font-size="{_number(font.size)}" fill="{colour}"{font.weight}>'
            f"{escape(text.strip())}</text>"
        )


# ---------------------------------------------------------------- where things stand


def _stack(groups: Sequence[Group], party: _Column, ca: _Column, top: float) -> _Stack:
    """Put groups one below another, each CA beside the middle of its parties."""
    parties: list[_Placed] = []
    cas: list[tuple[_Placed, tuple[_Placed, ...]]] = []
    y = top
    for group in groups:
        heights = [_size(box)[1] for box in group.parties]
        ca_height = 0.0 if group.ca is None else _size(group.ca)[1]
        inner = sum(heights) + _GAP * (len(heights) - 1)
        height = max(inner, ca_height)
        at = y + (height - inner) / 2
        placed = []
        for box, own in zip(group.parties, heights, strict=True):
            placed.append(_Placed(box, party.x, at, party.width, own))
            at += own + _GAP
        parties += placed
        if group.ca is not None:
            middle = y + (height - ca_height) / 2
            cas.append((_Placed(group.ca, ca.x, middle, ca.width, ca_height), tuple(placed)))
        y += height + _GAP
    return _Stack(tuple(parties), tuple(cas), y - _GAP - top)


def _cut(groups: Sequence[Group], lane_width: float) -> list[list[Group]]:
    """Part groups into lanes of about the same height."""
    total = sum(_height(group) + _GAP for group in groups)
    most = max(_MIN_LANE, math.sqrt(total * lane_width / _ASPECT))
    most = total / math.ceil(total / most) + _GAP  # no short lane at the end
    lanes: list[list[Group]] = [[]]
    left = most
    for piece in (piece for group in groups for piece in _pieces(group, most)):
        height = _height(piece) + _GAP
        if lanes[-1] and height / 2 > left:
            lanes.append([])
            left = most
        lanes[-1].append(piece)
        left -= height
    return lanes


def _pieces(group: Group, most: float) -> Iterator[Group]:
    """Part a group that is higher than a lane."""
    boxes: list[Box] = []
    height = 0.0
    for box in group.parties:
        own = _size(box)[1] + _GAP
        if boxes and height + own > most:
            yield Group(group.ca, tuple(boxes))
            boxes, height = [], 0.0
        boxes.append(box)
        height += own
    yield Group(group.ca, tuple(boxes))


def _height(group: Group) -> float:
    inner = sum(_size(box)[1] for box in group.parties) + _GAP * (len(group.parties) - 1)
    return inner if group.ca is None else max(inner, _size(group.ca)[1])


def _width(boxes: Iterable[Box]) -> float:
    return max((_size(box)[0] for box in boxes), default=0.0)


def _size(box: Box) -> tuple[float, float]:
    names = [_columns(_shortened(name, _MAX_NAME)) * _NAME.column for name in box.names]
    details = [_columns(_shortened(one, _MAX_DETAIL)) * _DETAIL.column for one in box.details]
    height = len(box.names) * _NAME.line + len(box.details) * _DETAIL.line
    return max((*names, *details, 90.0)) + 2 * _PAD, height + 2 * _PAD


def _columns(text: str) -> int:
    """Count what characters take: those of East Asia are as wide as two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _shortened(text: str, most: int) -> str:
    """Leave out the middle: both ends of a domain tell it from others."""
    if _columns(text) <= most:
        return text
    tail = most * 3 // 5
    head = most - tail - 1
    while _columns(text[:head]) > most - tail - 1:
        head -= 1
    keep = len(text) - tail
    while _columns(text[keep:]) > tail:
        keep += 1
    return f"{text[:head]}…{text[keep:]}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
