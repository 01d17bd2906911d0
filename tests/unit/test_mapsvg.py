"""The trust map as SVG: what is drawn, and that nothing lies on anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
from attrs import frozen
from policies import ALL, with_partners

from siptls import TrustPolicy
from siptls.cli.mapsvg import svg
from siptls.trust.trustmap import TrustMap

NAMESPACE = "{http://www.w3.org/2000/svg}"


@frozen
class Area:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Area) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def inner(self) -> Area:
        """Without its rim: numbers are rounded, and lines end at boxes."""
        return Area(self.left + 0.2, self.top + 0.2, self.right - 0.2, self.bottom - 0.2)

    def holds(self, other: Area) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def picture(policy: TrustPolicy) -> ET.Element:
    return ET.fromstring(svg(TrustMap.of(policy)))


def numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


def box_of(group: ET.Element) -> Area:
    (rect,) = group.findall(f"{NAMESPACE}rect")
    x, y, width, height = numbers(rect, "x", "y", "width", "height")
    return Area(x, y, x + width, y + height)


def text_area(text: ET.Element) -> Area:
    """As wide as DejaVu Sans Mono is, of which each letter has 0.602 of its size."""
    x, y, size = numbers(text, "x", "y", "font-size")
    wide = sum(2 if "\u1100" < c != "…" and c != "•" else 1 for c in text.text or "")
    return Area(x, y - 0.8 * size, x + wide * 0.602 * size, y + 0.25 * size)


def lines(root: ET.Element) -> Iterator[Area]:
    for path in root.findall(f"{NAMESPACE}path"):
        found = re.fullmatch(r"M([\d.]+) ([\d.]+)([HV])([\d.]+)", path.attrib["d"])
        assert found is not None
        x, y, end = float(found[1]), float(found[2]), float(found[4])
        to_x, to_y = (end, y) if found[3] == "H" else (x, end)
        yield Area(min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))


@pytest.mark.parametrize("name", ALL)
def test_nothing_lies_on_anything_else_and_all_is_in_the_picture(name: str) -> None:
    root = picture(ALL[name])
    whole = Area(0, 0, *map(float, root.attrib["viewBox"].split()[2:]))
    groups = root.findall(f"{NAMESPACE}g")
    boxes = [box_of(group) for group in groups]
    loose = [text_area(text) for text in root.findall(f"{NAMESPACE}text")]
    for group, box in zip(groups, boxes, strict=True):
        inner = [text_area(text) for text in group.findall(f"{NAMESPACE}text")]
        assert all(box.holds(text) for text in inner)
        assert not any(one.meets(other) for one, other in combinations(inner, 2))
    for one, other in combinations([*boxes, *loose], 2):
        assert not one.meets(other)
    for line in lines(root):
        assert not any(line.meets(one.inner()) for one in [*boxes, *loose])
    assert all(whole.holds(one) for one in [*boxes, *loose, *lines(root)])


@pytest.mark.parametrize("name", ALL)
def test_it_is_a_picture_and_nothing_else(name: str) -> None:
    """No script, no link, nothing from elsewhere; no character that XML forbids."""
    root = picture(ALL[name])
    kinds = {element.tag.removeprefix(NAMESPACE) for element in root.iter()}
    assert kinds <= {"svg", "title", "desc", "defs", "marker", "path", "g", "rect", "text"}
    attributes = {key for element in root.iter() for key in element.attrib}
    assert not {key for key in attributes if "href" in key or key.startswith("on")}


@pytest.mark.parametrize("count", [0, 1, 3, 12, 60])
def test_each_partner_and_each_ca_is_there(count: int) -> None:
    root = picture(with_partners(count))
    said = [text.text for text in root.iter(f"{NAMESPACE}text")]
    for number in range(count):
        assert said.count(f"partner{number:02}.example") == 1
        assert said.count(f"Partner {number} CA") == (0 if number % 5 == 4 else 1)
    assert len(root.findall(f".//{NAMESPACE}path[@marker-end]")) == count + 1


@pytest.mark.parametrize(("count", "lanes"), [(3, 1), (12, 1), (60, 4)])
def test_a_page_is_about_as_wide_as_it_is_high_or_wider(count: int, lanes: int) -> None:
    root = picture(with_partners(count))
    headings = [text for text in root.iter(f"{NAMESPACE}text") if text.text == "partners"]
    assert len(headings) == lanes
    width, height = numbers(root, "width", "height")
    assert 0.8 < width / height < 5


def test_what_is_left_out_of_a_long_name_is_told_beside_it() -> None:
    root = picture(with_partners(1, long=True))
    titles = [title.text or "" for title in root.findall(f".//{NAMESPACE}g/{NAMESPACE}title")]
    domain = "partner00.manufacturing-and-logistics.of-a-company-with-a-long-name.example"
    assert any(title.startswith(domain) for title in titles)
    shown = [text.text or "" for text in root.iter(f"{NAMESPACE}text")]
    (cut,) = (text for text in shown if text.startswith("partner00"))
    assert len(cut) == 40
    assert cut.endswith("name.example")


def test_a_blocked_partner_has_a_broken_red_line() -> None:
    root = picture(ALL["blocked"])
    broken = root.findall(f"{NAMESPACE}path[@stroke-dasharray]")
    assert [path.attrib["stroke"] for path in broken] == ["#dc2626"]


def test_grey_text_can_be_read_on_white_and_on_black() -> None:
    """WCAG 2.2 §1.4.3: 4.5 to 1."""
    root = picture(ALL["3 partners"])
    for text in root.findall(f"{NAMESPACE}text"):
        value = int(text.attrib["fill"][1:3], 16) / 255
        luminance = ((value + 0.055) / 1.055) ** 2.4
        assert text.attrib["fill"][1:] == text.attrib["fill"][1:3] * 3
        assert 1.05 / (luminance + 0.05) >= 4.5
        assert (luminance + 0.05) / 0.05 >= 4.5


def test_the_text_is_the_same_each_time() -> None:
    assert len({svg(TrustMap.of(with_partners(12))) for _ in range(3)}) == 1


def test_what_cannot_be_drawn_is_told() -> None:
    class Own:
        def evaluate(self, evidence: object, /) -> object:
            raise NotImplementedError

    said = [text.text for text in picture(ALL["3 partners"] | Own()).iter(f"{NAMESPACE}text")]
    assert "Not shown: Own" in said
