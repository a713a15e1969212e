"""What a person does with the panel's frame, whatever the view: open tabs, wait, look at how it is laid out."""

from __future__ import annotations

from typing import Any, Final

from playwright.async_api import Locator, Page, expect

from tests.panel.watch import TIMEOUT_MILLISECONDS

# Nothing is loading, and what was asked to be drawn has been drawn.
_SETTLED: Final = """async () => {
  const elements = document.querySelectorAll('llm-settings-panel, llm-admin-panel, ownkey-page');
  for (const element of elements) {
    await element.updateComplete;
    if ((element.shadowRoot ?? element).querySelector('.skeleton, [aria-busy=true]')) return false;
  }
  return true;
}"""

# What sticks out of the window, and why nobody could scroll to it; texts that are cut off in the middle.
_LAYOUT: Final = """() => {
  const faults = [];
  const limit = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > limit + 1) {
    faults.push(`the page is ${document.documentElement.scrollWidth} pixels wide in a window of ${limit}`);
  }
  const name = ({ localName, className, textContent }) =>
    `<${localName} class="${className}"> "${textContent.trim().slice(0, 40)}"`;
  const walk = (root, scrolled) => {
    for (const element of root.children) {
      const style = getComputedStyle(element);
      if (style.display === 'none' || style.visibility === 'hidden') continue;
      const box = element.getBoundingClientRect();
      const away = scrolled || ['auto', 'scroll', 'hidden', 'clip'].includes(style.overflowX);
      if (!scrolled && box.width > 0 && box.height > 0 && style.position !== 'fixed'
          && (box.right > limit + 1 || box.left < -1) && !(box.width <= 1 || box.height <= 1)) {
        faults.push(`${name(element)} from ${Math.round(box.left)} to ${Math.round(box.right)} of ${limit}`);
      }
      if (element.shadowRoot) walk(element.shadowRoot, away);
      walk(element, away);
    }
  };
  walk(document.body, false);
  return faults.slice(0, 8);
}"""

# Controls that a finger could not hit (WCAG 2.2, 2.5.8: 24 by 24 CSS pixels, links inside text excepted).
_TARGETS: Final = """() => {
  const small = [];
  const controls = 'button, input:not([type=hidden]), select, textarea, summary, [role=tab], [role=button]';
  const walk = (root) => {
    for (const element of root.querySelectorAll('*')) {
      if (element.shadowRoot) walk(element.shadowRoot);
      if (!element.matches(controls)) continue;
      if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      const ticked = element.matches('[type=checkbox], [type=radio]');
      const target = (ticked && element.closest('label')) || element;
      const box = target.getBoundingClientRect();
      if (box.width <= 1 || box.height <= 1) continue;
      if (box.width < 24 || box.height < 24) {
        small.push(`<${element.localName} class="${element.className}"> "${element.textContent.trim().slice(0, 30)}" `
          + `${Math.round(box.width)} by ${Math.round(box.height)}`);
      }
    }
  };
  walk(document);
  return small;
}"""
# Whether the focus is drawn: an outline or a ring on the control itself or on what stands for it.
_HAS_VISIBLE_FOCUS: Final = """(element) => {
  const drawn = (one, part) => {
    const style = getComputedStyle(one, part);
    return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
  };
  return [element, element.nextElementSibling, element.parentElement].some((one) => one && drawn(one))
    || drawn(element, '::before') || drawn(element, '::after');
}"""


async def wait_for(page: Page, condition: str) -> None:
    """Until a condition (a JavaScript function, perhaps async) holds.

    Asked through the debugger: Playwright's own `wait_for_function` evaluates a text inside the page, which a content
    security policy forbids.
    """
    holds = await page.evaluate(f"""async () => {{
      const holds = {condition};
      for (const end = performance.now() + {TIMEOUT_MILLISECONDS}; performance.now() < end; ) {{
        if (await holds()) return true;
        await new Promise((drawn) => setTimeout(drawn, 10));
      }}
      return false;
    }}""")
    assert holds, f"did not become true: {condition}"


async def wait_until_settled(page: Page) -> None:
    """Until no part of the panel says that it is loading."""
    await wait_for(page, _SETTLED)


async def list_tabs(page: Page) -> list[str]:
    """The ids of the tabs, first to last."""
    found: list[str] = await page.get_by_role("tab").evaluate_all("(tabs) => tabs.map((tab) => tab.id.slice(4))")
    return found


async def open_tab(page: Page, tab: str) -> None:
    """Click a tab and wait for its content."""
    await page.locator(f"#tab-{tab}").click()
    await wait_until_settled(page)


async def find_layout_faults(page: Page) -> list[str]:
    """What cannot be seen without scrolling sideways, outside of what scrolls by itself."""
    faults: list[str] = await page.evaluate(_LAYOUT)
    return faults


async def find_small_targets(page: Page) -> list[str]:
    """Controls below 24 pixels."""
    found: list[str] = await page.evaluate(_TARGETS)
    return found


async def read_events(page: Page) -> list[dict[str, Any]]:
    """The events of the panel that reached the page, in order."""
    events: list[dict[str, Any]] = await page.evaluate("window.__ownkey_events")
    return events


async def add_key(page: Page, secret: str, *, provider: str | None = None) -> None:
    """Paste a key in the tab Keys, test it and save it. The provider is the one that is suggested unless given."""
    await page.get_by_role("button", name="Add key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("API key").fill(secret)
    if provider is not None:
        await dialog.get_by_label("Provider").select_option(label=provider)
    await dialog.get_by_role("button", name="Test and save").click()
    await expect(dialog).to_be_hidden()


async def tab_to(page: Page, target: Locator, *, limit: int = 80, back: bool = False) -> None:
    """Press Tab until a control has the focus, as somebody without a mouse does."""
    await expect(target).to_be_visible()
    for _ in range(limit):
        if await target.evaluate("(element) => element.matches(':focus')"):
            assert await target.evaluate(_HAS_VISIBLE_FOCUS), f"nobody sees that {target} has the focus"
            return
        await page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"{limit} presses of Tab did not reach {target}")
