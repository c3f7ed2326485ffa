"""The details of an approval as HTML: CommonMark and tables, without HTML of their own, images or other schemes.

Details come from events: who may send one must not thereby put anything onto the page but text and links, and each
link says where it leads.
"""

from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

LINK_RELATION: Final = "noopener noreferrer nofollow"


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")
    parser.validateLink = _is_link  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _open_link)
    parser.add_render_rule("link_close", _close_link)
    for cell in ("th_open", "td_open"):
        parser.add_render_rule(cell, _open_cell)
    return parser


@lru_cache(maxsize=128)
def render_details(text: str) -> str:
    """HTML for Markdown; up to 0.2 s for 8 KiB of brackets, so what was asked for lately is kept."""
    return str(_parser().render(text))


def _is_link(url: str) -> bool:
    """Whether a link leads to a web site or to somebody's mail; what does not stays text."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "mailto" or (parts.scheme in ("https", "http") and bool(parts.hostname))


def _open_link(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    token = tokens[index]
    token.attrSet("rel", LINK_RELATION)
    token.attrSet("target", "_blank")
    env["leads to"] = "" if token.info == "auto" else _destination(str(token.attrGet("href")))
    return self.renderToken(tokens, index, options, env)


def _close_link(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    leads_to = env.pop("leads to", "")
    shown = f' <span class="host">({escape(leads_to)})</span>' if leads_to else ""
    return self.renderToken(tokens, index, options, env) + shown


def _open_cell(
    self: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    """A cell of a table, aligned by a class: the page's policy lets no `style` attribute count."""
    attributes = tokens[index].attrs
    style = str(attributes.pop("style", ""))
    if style:
        attributes["class"] = style.removeprefix("text-align:")
    return self.renderToken(tokens, index, options, env)


def _destination(url: str) -> str:
    """The host of a link, or the address of a mail."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "mailto" else parts.netloc.rpartition("@")[2]
