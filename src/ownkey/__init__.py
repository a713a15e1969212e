"""Every user's own LLM keys, preferences and spend, behind one OpenAI-compatible gateway."""

__version__ = "0.1.0"
