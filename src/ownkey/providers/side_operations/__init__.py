"""What some providers can do besides text and embeddings: pictures, sound, moderation, ranking.

All of it is OpenAI's wire format (ranking: Cohere's), so bytes pass through; only the model's name is rewritten.
"""
