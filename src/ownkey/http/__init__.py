"""The gateway and the management API."""
