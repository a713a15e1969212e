"""Everything goes wrong at once, and afterwards both sides' books are compared call by call."""
