"""Gemini as Google itself speaks it: `generateContent`."""
