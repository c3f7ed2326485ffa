"""The page of an approval link in Chromium, without scripts: on a phone and a desk, light and dark.

With HEED_PICTURES=FOLDER the tests leave pictures of what they saw.
"""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from heed.bus.client.connection import Connection
from tests.browser.chromium import DESKTOP, PHONE, Page
from tests.integration.gateway.link_rig import Links, link_rig

FIELDS: dict[str, Any] = {
    "type": "object",
    "required": ["budget", "amount"],
    "properties": {
        "budget": {"type": "string", "maxLength": 40, "title": "Budget", "description": "Such as 2026-11."},
        "amount": {"type": "integer", "minimum": 1, "maximum": 500, "title": "Up to how many euros?"},
        "centre": {"enum": ["IT", "Travel"], "title": "Cost centre"},
        "urgent": {"type": "boolean", "title": "It is urgent"},
    },
}
DETAILS = """**Lee Park** asks for it: the old one wobbles.

| item | price |
|---|---:|
| Desk | 389 € |

See [the offer](https://shop.example/4711) ![logo](https://evil.example/track.png)
<script>document.title = "run"</script>
"""
NORMAL_TEXT_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
TOUCH_TARGET_PX = 44


@pytest.fixture
async def links(connection: Connection, tmp_path: Path) -> AsyncIterator[Links]:
    """An approval with details and fields waits."""
    async with link_rig(
        connection, tmp_path, title="Buy a standing desk for 420 euros?", details=DETAILS, fields=FIELDS
    ) as rig:
        yield rig


async def keep_picture(page: Page, name: str) -> None:
    """Leave a picture where one is wanted."""
    if folder := os.environ.get("HEED_PICTURES"):
        await page.picture(Path(folder) / f"{name}.png")


async def test_a_person_answers_on_a_phone(links: Links, page: Page) -> None:
    url = links.origin + await links.link(**{"for": "kim@example.com"})
    await page.show_as(PHONE, "light")
    await page.open(url)

    await page.click(".choice:nth-of-type(2)")
    await page.enter("[name=field-0]", "2026-11")
    await page.enter("[name=field-1]", "420")
    await page.click(".check")
    await page.enter("[name=comment]", "Too dear — Kim ✓")
    await page.click("button", moves=True)

    (answer,) = links.answers
    assert answer["spec"]["choice"] == "reject"
    assert answer["spec"]["fields"] == {"budget": "2026-11", "amount": 420, "urgent": True}
    assert answer["spec"]["comment"] == "[link for kim@example.com] Too dear — Kim ✓"
    assert "The answer is recorded" in await page.text()
    assert [method for method, _ in page.requests] == ["GET", "POST", "GET"]
    assert page.origins == [links.origin]
    links.judge(True)
    await page.open(url)
    assert "Thank you." in await page.text()
    await keep_picture(page, "answered")
    assert page.complaints == []


async def test_the_browser_asks_for_what_is_missing_and_sends_nothing(links: Links, page: Page) -> None:
    await page.open(links.origin + await links.link())

    await page.enter("[name=field-0]", "2026-11")
    await page.press_enter("[name=field-0]")
    assert await page.has("[name=choice]:focus")
    await page.click("button")
    assert await page.has("[name=choice]:focus")

    assert "POST" not in [method for method, _ in page.requests]
    assert links.answers == []


async def test_what_would_not_count_is_said_and_what_was_entered_stays(
    connection: Connection, tmp_path: Path, page: Page
) -> None:
    async with link_rig(
        connection, tmp_path, approvers={"where": "answer.comment.contains('because')"}
    ) as links:
        await page.show_as(PHONE, "dark")
        await page.open(links.origin + await links.link())
        await page.click(".choice:nth-of-type(1)")
        await page.enter("[name=comment]", "so")
        await page.click("button", moves=True)
        await keep_picture(page, "refused-dark")

        assert "This answer would not count" in await page.text()
        assert await page.has("[name=choice][value=approve]:checked")
        await page.enter("[name=comment]", " because")
        await page.click("button", moves=True)
        assert [item["spec"]["choice"] for item in links.answers] == ["approve"]


@pytest.mark.parametrize(("screen", "name"), [(PHONE, "phone"), (DESKTOP, "desktop")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_reads_well(
    links: Links, page: Page, screen: tuple[int, int, bool], name: str, scheme: str
) -> None:
    url = links.origin + await links.link()
    await page.show_as(screen, scheme)
    await page.open(url)
    await keep_picture(page, f"form-{name}-{scheme}")

    assert await page.width() == screen[0]  # nothing has to be scrolled sideways
    for selector in (".choice", ".check", "button", "select", "[name=field-0]"):
        assert await page.height(selector) >= TOUCH_TARGET_PX, selector
    for text, ground in (("h1", ".card"), (".quiet", ".card"), ("dt", ".card"), ("footer", "body"),
                         ("button", "button"), ("a", ".card"), (".help", ".card"), (".host", ".card")):  # fmt: skip
        contrast = contrast_of(
            await page.colour(text, "color"), await page.colour(ground, "background-color")
        )
        assert contrast >= NORMAL_TEXT_CONTRAST, (text, contrast)
    assert (luminance(await page.colour("body", "background-color")) < 0.2) is (scheme == "dark")


async def test_each_control_has_a_name_for_who_does_not_see_it(links: Links, page: Page) -> None:
    await page.open(links.origin + await links.link())

    assert await page.names("radio") == ["Approve", "Reject"]
    assert await page.names("checkbox") == ["It is urgent"]
    assert await page.names("spinbutton") == ["Up to how many euros?"]
    assert await page.names("combobox") == ["Cost centre (optional)"]
    assert await page.names("textbox") == ["Budget", "Comment (optional)"]
    assert await page.names("group") == ["Your answer"]
    assert await page.names("button") == ["Send answer"]
    assert await page.names("heading") == ["Buy a standing desk for 420 euros?"]


async def test_it_loads_and_runs_nothing_else(links: Links, page: Page) -> None:
    await page.send("Emulation.setScriptExecutionDisabled", value=False)
    url = links.origin + await links.link()

    await page.open(url)

    assert [asked for _, asked in page.requests] == [url]
    title = (await page.send("Runtime.evaluate", expression="document.title"))["result"]["value"]
    assert title == "Buy a standing desk for 420 euros?"
    assert page.complaints == []


async def test_the_host_that_a_link_shows_is_the_one_that_the_browser_would_go_to(
    connection: Connection, tmp_path: Path, page: Page
) -> None:
    addresses = ("good.example/x", "good.example@evil.example/", "evil.example\\\\@good.example",
                 "evil.example&#92;@good.example", "evil.example#@good.example", "evil.example?@good.example",
                 "evil.example;@good.example",
                 "good.example&#x2f;x@evil.example", "EVIL.example:8443/", "ev\u0131l.example", "[::1]/")  # fmt: skip
    details = "\n\n".join(f"[link](https://{address})" for address in addresses)
    async with link_rig(connection, tmp_path, details=details) as links:
        await page.send("Emulation.setScriptExecutionDisabled", value=False)
        await page.open(links.origin + await links.link())

        script = (
            "JSON.stringify([...document.querySelectorAll('.details a')]"
            ".map(link => [link.host, link.nextElementSibling.textContent]))"
        )
        found = (await page.send("Runtime.evaluate", expression=script))["result"]["value"]

    pairs = json.loads(found)
    assert len(pairs) == len(addresses)
    for real, shown in pairs:
        assert shown.lower() == f"({real})"


async def test_another_sites_page_can_neither_frame_it_nor_send_its_form(links: Links, page: Page) -> None:
    # Given a page elsewhere that knows a link, and even what proves its form
    path = await links.link()
    url, proof = links.origin + path, await links.proof(path)
    form = (
        f'<iframe src="{url}"></iframe><form method="post" action="{url}">'
        f'<input name="proof" value="{proof}"><input name="choice" value="approve"><button>Win</button></form>'
    )

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(text=form, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", elsewhere)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await page.open(f"http://localhost:{runner.addresses[0][1]}/")
        assert any("frame-ancestors" in item or "X-Frame-Options" in item for item in page.complaints)

        # When somebody clicks there
        await page.click("button", moves=True)

        # Then nothing is answered
        assert "This was not sent from the page" in await page.text()
        assert links.answers == []
    finally:
        await runner.cleanup()


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of rgb(…)."""
    parts = [int(item) / 255 for item in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast_of(one: str, other: str) -> float:
    """Contrast of two colours (WCAG 2.2)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)
