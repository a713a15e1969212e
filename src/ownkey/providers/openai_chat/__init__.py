"""OpenAI Chat Completions: the dialect that most providers copy."""
