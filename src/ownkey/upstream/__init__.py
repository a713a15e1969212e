"""The way out: connections to providers, and what is known of their health."""
