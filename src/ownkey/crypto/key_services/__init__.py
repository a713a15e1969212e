"""The key services, each with its own client: one module per service, imported only where a URL names it."""
