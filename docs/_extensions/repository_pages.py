"""Pages of the site that are files of the repository outside `docs`, with their links."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent.parent

# The page, and the file of the repository that it shows.
PAGES = {
    "project/benchmarks": "benchmarks/README.md",
    "project/changelog": "CHANGELOG.md",
    "project/contributing": "CONTRIBUTING.md",
}
GUIDES = "../*"
"""A line of a toctree: the pages of `docs` that no other toctree lists, such as `nir.md`."""

LISTED = {"index", "architecture", "depth", "gallery"}
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


def page_of(path: str) -> str | None:
    """Return the page that shows a file of the repository, or None."""
    if path.startswith("docs/") and path.endswith(".md"):
        return path.removeprefix("docs/").removesuffix(".md")
    return next((page for page, file in PAGES.items() if file == path), None)


def with_links_of_the_site(text: str, docname: str) -> str:
    """Return a page whose links to files of the repository point to pages of the site.

    A link to a file that no page shows becomes the name of the file.
    """
    file = PAGES.get(docname, f"docs/{docname}.md")
    here = os.path.dirname(f"docs/{docname}")  # noqa: PTH120

    def replace(link: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(file), link[1]))  # noqa: PTH118, PTH120
        page = page_of(target)
        if page is not None:
            target = f"docs/{page}.md"
        relative = os.path.relpath(target, here)
        return f"]({relative}{link[2] or ''})"

    return _LINK.sub(replace, text)


def guides() -> list[str]:
    """Return the pages of `docs` that the how-to part lists."""
    pages = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
    return [page for page in pages if page not in LISTED]


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname in PAGES:
        source[0] = (ROOT / PAGES[docname]).read_text(encoding="utf-8")
        app.env.note_dependency(str(ROOT / PAGES[docname]))
    if docname in PAGES or app.env.doc2path(docname).suffix == ".md":
        here = source[0].splitlines()
        listed = "\n".join(f"../{page}" for page in guides() if f"../{page}" not in here)
        text = source[0].replace(f"\n{GUIDES}\n", f"\n{listed}\n")
        source[0] = with_links_of_the_site(text, docname)


def setup(app: Sphinx) -> dict[str, bool]:
    """Read these pages from the repository."""
    app.connect("source-read", _read, priority=100)
    return {"parallel_read_safe": True}
