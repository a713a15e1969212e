"""Programs that others wrote, and ours of other kinds, judge what this repository holds. `make judges`."""
