"""A real browser for tests: Debian's Chromium, driven over its DevTools protocol; pages run without their scripts."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.waiting import until
from tests.patience import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
           "--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--hide-scrollbars",
           "--remote-debugging-port=0")  # fmt: skip
PHONE, DESKTOP = (390, 844, True), (1280, 900, False)


def require_chromium() -> str:
    """The browser's path; the test is skipped without one, and fails in CI."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    message = "no Chromium: `apt-get install -y --no-install-recommends chromium` (make browser says so, too)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class Page:
    """A tab. `complaints` is what the browser has to say of the page, such as of its Content-Security-Policy."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        self.requests: list[tuple[str, str]] = []  # method and URL
        self.origins: list[str | None] = []  # of what was posted
        self._loaded = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def open(self, url: str) -> None:
        """Go there, and wait until it is there."""
        await self._moving(self.send("Page.navigate", url=url))

    async def show_as(self, screen: tuple[int, int, bool], scheme: str) -> None:
        """A screen's width, height and whether it is a phone's; `light` or `dark`."""
        width, height, phone = screen
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def click(self, selector: str, *, moves: bool = False) -> None:
        """Click where an element is; wait for the page that it leads to, where it `moves`."""
        await self.send("DOM.scrollIntoViewIfNeeded", nodeId=await self._find(selector))
        box = (await self.send("DOM.getContentQuads", nodeId=await self._find(selector)))["quads"][0]
        x, y = (box[0] + box[4]) / 2, (box[1] + box[5]) / 2

        async def press() -> None:
            for kind in ("mousePressed", "mouseReleased"):
                await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

        await (self._moving(press()) if moves else press())

    async def enter(self, selector: str, text: str) -> None:
        """Write into a control."""
        await self.send("DOM.focus", nodeId=await self._find(selector))
        await self.send("Input.insertText", text=text)

    async def press_enter(self, selector: str) -> None:
        """Press Enter in a control."""
        await self.send("DOM.focus", nodeId=await self._find(selector))
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, **key)

    async def has(self, selector: str) -> bool:
        """Whether there is such an element."""
        return await self._query(selector) != 0

    async def text(self) -> str:
        """What there is to read, as the accessibility tree has it for who does not see the page."""
        nodes = (await self.send("Accessibility.getFullAXTree"))["nodes"]
        texts = [item for item in nodes if item.get("role", {}).get("value") == "StaticText"]
        return " ".join(str(item["name"]["value"]) for item in texts)

    async def names(self, role: str) -> list[str]:
        """The accessible names of the elements of a role."""
        nodes = (await self.send("Accessibility.getFullAXTree"))["nodes"]
        found = [
            item for item in nodes if item.get("role", {}).get("value") == role and not item.get("ignored")
        ]
        return [str(item["name"]["value"]) for item in found]

    async def colour(self, selector: str, property_: str) -> str:
        """A computed style."""
        style = await self.send("CSS.getComputedStyleForNode", nodeId=await self._find(selector))
        return next(str(item["value"]) for item in style["computedStyle"] if item["name"] == property_)

    async def width(self) -> float:
        """How wide the content is, in CSS pixels."""
        return float((await self.send("Page.getLayoutMetrics"))["cssContentSize"]["width"])

    async def height(self, selector: str) -> float:
        """How high an element is, in CSS pixels."""
        return float(
            (await self.send("DOM.getBoxModel", nodeId=await self._find(selector)))["model"]["height"]
        )

    async def picture(self, file: Path) -> None:
        """Write a picture of all of the page."""
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(shot["data"]))

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        number = next(self._ids)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE):
            said = await answer
        assert "error" not in said, (method, parameters, said)
        return dict(said["result"])

    async def start(self) -> None:
        """Turn scripts off, and the protocol's domains on."""
        for domain in ("Page", "DOM", "CSS", "Log", "Network", "Accessibility"):
            await self.send(f"{domain}.enable")
        await self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.send("Emulation.setScriptExecutionDisabled", value=True)

    async def close(self) -> None:
        """Read no more of it."""
        self._reading.cancel()

    async def _moving(self, moving: Any) -> None:
        self._loaded.clear()
        await moving
        async with asyncio.timeout(PATIENCE):
            await self._loaded.wait()

    async def _query(self, selector: str) -> int:
        root = (await self.send("DOM.getDocument"))["root"]["nodeId"]
        return int((await self.send("DOM.querySelector", nodeId=root, selector=selector))["nodeId"])

    async def _find(self, selector: str) -> int:
        found = await self._query(selector)
        assert found, f"there is no {selector}"
        return found

    async def _read(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._note(said["method"], said["params"])

    def _note(self, event: str, told: Mapping[str, Any]) -> None:
        match event:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Log.entryAdded":
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append((told["request"]["method"], told["request"]["url"]))
            case "Network.requestWillBeSentExtraInfo":
                headers = {name.lower(): value for name, value in told["headers"].items()}
                if "origin" in headers:
                    self.origins.append(headers["origin"])


@asynccontextmanager
async def a_page(folder: Path) -> AsyncIterator[Page]:
    """A tab in a browser of its own, whose profile is in a folder."""
    command = [require_chromium(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession(trust_env=False) as http:
            port = await _port(folder / "DevToolsActivePort")
            async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                target = next(item for item in await response.json() if item["type"] == "page")
            async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                await page.start()
                yield page
                await page.close()
    finally:
        process.terminate()
        await process.wait()


async def _port(file: Path) -> int:
    """The port that the browser has chosen, once it says so."""
    lines: list[str] = []

    def written() -> bool:
        lines[:] = file.read_text().splitlines() if file.exists() else []
        return len(lines) == 2

    await until(written)
    return int(lines[0])
