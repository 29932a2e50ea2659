"""The server's page in a real headless Chromium: asking, watching, steering, past runs, keys, and hostile texts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ramify.server.config import Caller

from .conftest import Served, Serving

if TYPE_CHECKING:
    from playwright.async_api import Page

Browsing = Callable[..., AbstractAsyncContextManager["Page"]]
HOSTILE = "<img src=x onerror='window.harmed = 1'></script><script>window.harmed = 2</script>"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def browsing(chromium_options: dict[str, Any]) -> Browsing:
    """Open the page of a server; what its scripts complain of fails the test."""
    from playwright.async_api import async_playwright

    @asynccontextmanager
    async def begin(served: Served) -> AsyncGenerator[Page]:
        errors: list[str] = []
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(**chromium_options)
            page = await browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(served.url)
            yield page
            await browser.close()
        assert errors == []

    return begin


async def ask(page: Page, question: str, **limits: str) -> None:
    await page.wait_for_selector("[aria-label=Model] option", state="attached")
    await page.fill("textarea", question)
    for label, value in limits.items():
        await page.fill(f"[aria-label='{label}']", value)
    await page.click("button.main")


async def ended(page: Page, status: str = "finished") -> None:
    await page.wait_for_selector(f".control p[role=status]:text-is('{status}')")


async def test_a_question_is_searched_before_ones_eyes(serving: Serving, browsing: Browsing) -> None:
    async with serving(delay_s=0.05) as served, browsing(served) as page:
        await ask(page, "How many?", **{"Width": "4", "Limit of generated tokens": "900"})
        await ended(page)
        assert await page.inner_text(".outcome strong") == "7"
        assert await page.locator(".row.winning").count() > 1
        assert await page.locator(".row").first.inner_text() != ""
        assert "of 900" in await page.inner_text(".bars")
        assert "finished" in await page.inner_text(".runs li")
        assert await page.is_disabled("button:text-is('Stop')")


async def test_a_search_is_steered(serving: Serving, browsing: Browsing) -> None:
    def endless(question: str, path: tuple[int, ...]) -> str:
        return "A step.\n"

    async with serving(endless, delay_s=0.25, reward=None) as served, browsing(served) as page:
        await ask(page, "How many?", **{"Width": "3", "Limit of generated tokens": "900", "Limit of seconds": "200"})
        await page.click("button:text-is('Double limits')")
        await page.wait_for_selector(".bars:has-text('of 1,800')")
        assert "of 400" in await page.inner_text(".bars")
        await page.click("button:text-is('No limits')")
        await page.wait_for_selector(".bars:has-text('no limits')")
        await page.locator(".row[aria-level='2'] .text").first.click()
        await page.click("button:text-is('Prune')")
        await page.wait_for_selector(".row.group")
        await page.click("button:text-is('Stop')")
        await ended(page)
        assert "stopped: user" in await page.inner_text(".facts")


async def test_past_runs_are_listed_and_compared(serving: Serving, browsing: Browsing) -> None:
    long = f"How many apples{' and more apples' * 8}?"
    async with serving() as served:
        async with served.http() as http:
            for question in (long, "How many pears?"):
                body = {"model": "scripted", "messages": [{"role": "user", "content": question}]}
                assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        async with browsing(served) as page:
            await page.wait_for_selector(".runs li >> nth=1")
            await page.wait_for_selector(".question:text-is('How many pears?')")
            await page.click(".runs [data-run] >> nth=1")
            await page.wait_for_selector(f".question:text-is('{long}')")
            # Long questions are cut off in the list, which is no wider than its panel.
            wider = "(side => side.scrollWidth - side.clientWidth)(document.querySelector('.side'))"
            assert await page.evaluate(wider) == 0
            await page.click(".runs li:first-child button[aria-label^=Compare]")
            await page.wait_for_selector(".panel >> nth=1")
            assert "Generated tokens" in await page.inner_text(".compare")


async def test_errors_of_the_server_are_told(serving: Serving, browsing: Browsing) -> None:
    async with serving() as served, browsing(served) as page:
        await ask(page, "How many?", Width="99999")
        await page.wait_for_selector(".said-aloud:has-text('width')")
        served.end.set()
        await anyio.sleep(0.2)


async def test_a_key_is_asked_for_and_stays_in_the_page(serving: Serving, browsing: Browsing) -> None:
    async with serving(callers=[Caller.with_key("me", "secret")]) as served, browsing(served) as page:
        await page.wait_for_selector("[aria-label='API key']")
        await page.fill("[aria-label='API key']", "secret")
        await page.click("button:text-is('Use key')")
        await ask(page, "How many?", Width="2")
        await ended(page)
        kept = "JSON.stringify([localStorage, sessionStorage, document.cookie])"
        assert "secret" not in await page.evaluate(kept)


async def test_no_text_becomes_markup(serving: Serving, browsing: Browsing) -> None:
    def hostile(question: str, path: tuple[int, ...]) -> str:
        return f"{HOSTILE}\n" if len(path) == 1 else f"The answer is {HOSTILE}."

    async with serving(hostile) as served, browsing(served) as page:
        await ask(page, HOSTILE, Width="2")
        await ended(page)
        assert await page.inner_text(".question") == HOSTILE
        assert await page.evaluate("window.harmed") is None
        assert await page.locator("#app img, #app script").count() == 0


async def test_no_other_page_may_frame_it(serving: Serving) -> None:
    async with serving(callers=[Caller.with_key("me", "secret")]) as served, served.http() as http:
        answer = await http.get("/")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "secret" not in answer.text
