"""What Ownkey is about, without I/O: credentials, settings, routing, usage, audit."""
