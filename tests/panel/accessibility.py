"""axe-core on a page, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import pytest
from playwright.async_api import Page

from tests.panel.hosts import NODE_MODULES

TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_RUN: Final = """([include, exclude, tags]) => axe
  .run({ include, exclude }, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] })
  .then(({ violations, passes }) => ({
    passes: passes.length,
    violations: violations.map(({ id, impact, help, nodes }) => ({
      id, impact, help,
      nodes: nodes.map(({ target, html, failureSummary }) => ({ target, html, failureSummary })),
    })),
  }))
"""


async def assert_accessible(
    page: Page,
    *,
    include: str | None = None,
    exclude: Sequence[str] = (),
    schemes: Sequence[str] = ("light", "dark"),
) -> None:
    """No finding of axe (WCAG 2.2 A and AA, and its best practices) on what the page shows now.

    `include` and `exclude` are CSS selectors; the panel's shadow roots are entered.
    """
    source = _read_axe()
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        await page.evaluate("() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {})))")
        # Through the debugger, which no content security policy holds back.
        await page.evaluate(source)
        found: dict[str, Any] = await page.evaluate(_RUN, [[include or "html"], list(exclude), list(TAGS)])
        assert not found["violations"], f"in {scheme}:\n{_describe(found['violations'])}"
        assert found["passes"], "axe found nothing to check"
    await page.emulate_media(color_scheme=None, reduced_motion=None)


@cache
def _read_axe() -> str:
    path = NODE_MODULES / "axe-core" / "axe.min.js"
    if not path.exists():
        pytest.skip("axe-core is not installed: run `make setup` with npm")
    return path.read_text(encoding="utf-8")


def _describe(violations: list[dict[str, Any]]) -> str:
    lines = []
    for violation in violations:
        lines.append(f"{violation['id']} ({violation['impact']}): {violation['help']}")
        for node in violation["nodes"]:
            lines.append(f"    {node['target']}: {node['html'][:200]}")
            lines.append("    " + node["failureSummary"].replace("\n", " "))
    return "\n".join(lines)
