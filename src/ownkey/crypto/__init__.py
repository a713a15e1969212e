"""Envelope encryption, wrapping keys and gateway tokens."""
