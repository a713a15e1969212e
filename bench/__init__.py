"""Side-by-side benchmark: the provider directly, nginx as a proxy, and Ownkey with everything on."""
