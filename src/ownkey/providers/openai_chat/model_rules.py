"""What some families of models want of the messages, whoever serves them."""

from __future__ import annotations

import re
from typing import Final

_MISTRAL: Final = re.compile(r"(?:mis|minis|codes|devs|magis|vox)tral|pixtral", re.IGNORECASE)


def wants_answer_after_results(model: str) -> bool:
    """Mistral's models refuse the user's word right after a tool's result: an assistant's has to come between."""
    return _MISTRAL.search(model) is not None


def wants_thinking_with_calls(model: str) -> bool:
    """DeepSeek's own API refuses calls without `reasoning_content`, be it empty because another model made them."""
    return model.startswith("deepseek-")
