"""What the product does, on top of storage, crypto, providers and upstream."""
