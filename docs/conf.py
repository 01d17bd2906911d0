# ruff: noqa: INP001  no package
"""How Sphinx builds the docs: `make docs`. No page needs it to read well in the repository.

Nothing is fetched, and nothing depends on the day: who builds the same source gets the same site.
"""

from __future__ import annotations

import enum
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import siptls
import siptls.metrics
import siptls.sync
import siptls.testing

project = "siptls"
version = release = siptls.__version__
copyright = "the authors of siptls; Apache-2.0"  # noqa: A001  Sphinx calls it so

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = True  # a reference that leads nowhere is a fault
default_role = "py:obj"  # `Authority` in a docstring leads to Authority

# ---------------------------------------------------------------- pages

myst_heading_anchors = 4
html_theme = "furo"
html_title = f"siptls {release}"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"


def _onto_the_site(text: str, folder: Path, docs: Path) -> str:
    """Turn the links of a page that lead out of the docs into such as lead somewhere on the site.

    The README is its front page. Any other file can be downloaded, which is what MyST does with a
    program by itself, and with Markdown if it is told that it is a path.
    """

    def link(found: re.Match[str]) -> str:
        file = (folder / found["path"]).resolve()
        if not file.is_file():  # it may be code that looks like a link
            return found[0]
        if file == docs.parent / "README.md":
            return f"](/index.md{found['anchor']})"
        here = os.path.relpath(file, docs)
        return f"](path:/{here})" if here.startswith("..") else f"](/{here}{found['anchor']})"

    return re.sub(r"\]\((?!\w+:|#|/)(?P<path>[^)#\s]+)(?P<anchor>[^)\s]*)\)", link, text)


def _read_page(app: Sphinx, page: str, text: list[str]) -> None:
    """Rewrite a page that Sphinx has read."""
    text[0] = _onto_the_site(text[0], Path(app.env.doc2path(page)).parent, Path(app.srcdir))


def _read_readme(app: Sphinx, _: Path, __: str, text: list[str]) -> None:
    """Rewrite what a page includes: that is the README alone."""
    text[0] = _onto_the_site(text[0], Path(app.srcdir).parent, Path(app.srcdir))


# ---------------------------------------------------------------- the reference

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = False

# Where a public name is documented: under the module from which it is imported, not where it is
# written.
PUBLIC = {f"siptls.{name}" for name in siptls.__all__}
PUBLIC |= {f"{module.__name__}.{name}" for module in (siptls.metrics, siptls.sync, siptls.testing)
           for name in module.__all__}  # fmt: skip
HOMES: dict[str, str] = {}
for public in sorted(PUBLIC):
    package, name = public.rsplit(".", 1)
    what = getattr(import_module(package), name)
    HOMES[f"{getattr(what, '__module__', '')}.{name}"] = public


nitpick_ignore_regex = [
    # What others document: to find out where, something would have to be fetched.
    (r"py:.*", r"(_?ssl|asyncio|collections|datetime|ipaddress|os|socket)(\..*)?"),
    (r"py:.*", r"(attrs|cryptography|OpenSSL)(\..*)?"),
    # A type in a signature that nobody has to name: it is told there, and in the text beside it.
    (r"py:class", r"siptls\.(trust|wire|transports|watched|pem)\..*"),
    (r"py:class", r"((pem\.)?Source|Scope)"),
]


def _find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Lead a reference to where the public name is documented."""
    if node.get("refdomain") != "py":
        return None
    python = env.domains.python_domain
    for target in _meanings(node["reftarget"]):
        if target in python.objects:
            return python.resolve_xref(
                env, node["refdoc"], app.builder, "obj", target, node, content
            )
    return None


def _meanings(target: str) -> list[str]:
    """Give the full names that a name in a docstring, or in a signature, may stand for."""
    owner, _, member = target.rpartition(".")
    home = HOMES.get(target) or f"{HOMES.get(owner, owner)}.{member}"
    return [home, f"siptls.{target}"]


def _show_defaults(
    _: Sphinx, __: str, ___: str, what: Any, ____: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Show the defaults of an attrs class as one would write them, and not where attrs has them.

    What has no public name is shown as ``...``: the text says what it is.
    """
    if signature is None:
        return signature, result
    if attrs.has(what):
        signature = re.sub(
            r"attr_dict\['(\w+)'\]\.default",
            lambda found: _as_written(getattr(attrs.fields(what), found[1]).default),
            signature,
        )
    return re.sub(r"(= ?)(?:NOTHING|_[A-Z]\w*)\b", r"\1...", signature), result


def _as_written(value: object) -> str:
    kind = type(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{value.name}"
    if attrs.has(kind):  # NameRules.RFC5922
        named = (f"{kind.__name__}.{name}" for name, one in vars(kind).items() if one is value)
        return next(named, "...")
    return "..." if callable(value) else repr(value)


# A docstring of a property is text: "One sentence: who, and what." has no type before its colon,
# where napoleon sees one. So it gets its text back, unless it has sections.
_SECTION = re.compile(r"(Args|Raises|Returns|Yields):")
_texts: dict[str, list[str]] = {}


def _remember(_: Sphinx, what: str, name: str, __: Any, ___: Any, lines: list[str]) -> None:
    """Keep what a property's docstring says."""
    if what in {"attribute", "data", "property"} and not any(map(_SECTION.match, lines)):
        _texts[name] = list(lines)


def _give_back(_: Sphinx, __: str, name: str, ___: Any, ____: Any, lines: list[str]) -> None:
    """Put it back."""
    lines[:] = _texts.pop(name, lines)


def setup(app: Sphinx) -> None:
    """Give Sphinx what stands above."""
    app.connect("source-read", _read_page)
    app.connect("include-read", _read_readme)
    app.connect("missing-reference", _find)
    app.connect("autodoc-process-signature", _show_defaults)
    app.connect("autodoc-process-docstring", _remember, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", _give_back, priority=600)
