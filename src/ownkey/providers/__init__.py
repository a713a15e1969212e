"""Providers as data, and the wire formats that they speak."""
