"""What the site needs beyond the pages in docs/: the README as its first page, and links that may leave docs/.

On GitHub a page may link to ../examples/…; the site holds no such file, so there the link leads to the repository.
A link to a file that does not exist is left as it is, and `mkdocs build --strict` fails at it.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
HOME = "index.md"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages lead to their source only where it is known where that is."""
    if not config.repo_url:
        config.edit_uri = None
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The README, as a page of the site."""
    files.append(File.generated(config, HOME, content=(ROOT / "README.md").read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Every link as seen from docs/, or into the repository."""
    docs = Path(config.docs_dir)
    written_in = ROOT if page.file.src_uri == HOME else (docs / page.file.src_uri).parent

    def led(found: re.Match[str]) -> str:
        target, anchor = Path(os.path.normpath(written_in / found[1])), found[2] or ""
        if target == ROOT / "README.md":
            target = docs / HOME
        elif not target.is_relative_to(docs):
            if not target.exists() or not target.is_relative_to(ROOT):
                return found[0]
            kind = "tree" if target.is_dir() else "blob"
            repository = f"{config.repo_url.rstrip('/')}/{kind}/main" if config.repo_url else ROOT.as_uri()
            return f"{repository}/{target.relative_to(ROOT)}{anchor}"
        return os.path.relpath(target, (docs / page.file.src_uri).parent) + anchor

    return LINK.sub(led, markdown)
