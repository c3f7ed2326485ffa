"""Details of approvals: text and links, and nothing that a sender of events could hide in them."""

import pytest

from heed.gateway.approvals.details import render_details

REL = 'rel="noopener noreferrer nofollow" target="_blank"'


def test_markdown_becomes_html() -> None:
    html = render_details("## Why\n\n**Kim** asks:\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")

    for part in ("<h2>Why</h2>", "<strong>Kim</strong>", "<li>one</li>", "<td>1</td>"):
        assert part in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <b onclick=x>b</b>",
        "<!-- hidden -->",
        "<div>\n\n**a**\n</div>",
        "`<i>`",
        "```<s>\n<u>\n```",
        '[a](https://e.example "</a><script>")',
        "[a](https://e.example/\"onmouseover='x')",
        "&lt;script&gt;",
    ],
)
def test_no_html_of_its_own_comes_through(text: str) -> None:
    html = render_details(text)

    for tag in ("<script", "<b ", "<!--", "<div", "<i>", "<s>", "<u>"):
        assert tag not in html
    assert "onmouseover='" not in html.replace("&quot;", '"') or '"onmouseover' not in html


def test_no_image_is_loaded() -> None:
    html = render_details("![logo](https://e.example/x.png)\n\n![a][b]\n\n[b]: https://e.example/y.png")

    assert "<img" not in html and "src=" not in html


def test_a_link_opens_apart_and_says_where_it_leads() -> None:
    assert render_details("[the **offer**](https://user@shop.example:8443/x?a=1&b=2)") == (
        f'<p><a href="https://user@shop.example:8443/x?a=1&amp;b=2" {REL}>the <strong>offer</strong></a>'
        ' <span class="host">(shop.example:8443)</span></p>\n'
    )
    assert '<span class="host">(kim@example.com)</span>' in render_details("[mail](mailto:kim@example.com)")
    assert render_details("<https://shop.example>") == (
        f'<p><a href="https://shop.example" {REL}>https://shop.example</a></p>\n'
    )


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "file:///etc/passwd", "/v1/events/x", "//e.example",
     "vbscript:x", "blob:x", "#a", "x", "java&#115;cript:x", "javascript&colon;x", "http:[x",
     "http://[::1", "https:/x.example", "https:x.example", "https:///x.example"],
)  # fmt: skip
def test_other_schemes_and_relative_links_stay_text(url: str) -> None:
    assert "<a " not in render_details(f"[a]({url})")
    assert "<a " not in render_details(f"[a]\n\n[a]: {url}")


def test_columns_are_aligned_by_classes_as_no_style_may_be_on_the_page() -> None:
    html = render_details("| a | b | c |\n|---|---:|:-:|\n| 1 | 2 | 3 |\n")

    assert "style" not in html
    assert '<th>a</th>\n<th class="right">b</th>\n<th class="center">c</th>' in html
    assert '<td>1</td>\n<td class="right">2</td>\n<td class="center">3</td>' in html


def test_two_links_each_have_their_own_host() -> None:
    html = render_details("[a](https://one.example) [b](https://two.example)")

    assert html.index("(one.example)") < html.index(">b<") < html.index("(two.example)")
