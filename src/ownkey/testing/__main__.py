"""`python -m ownkey.testing`: the simulated providers as a process of their own, until Ctrl-C.

$ python -m ownkey.testing --port 9100 --catalog catalog.toml &
$ OWNKEY_CATALOG=catalog.toml ownkey serve
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from ownkey.testing.simulated import SimulatedProviders


def main() -> None:
    """Serve until a signal. Every key is good unless `POST /_sim/accept_keys` says otherwise."""
    parser = argparse.ArgumentParser(prog="python -m ownkey.testing", description="Simulated LLM providers.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100, help="0 picks a free one")
    parser.add_argument("--catalog", type=Path, help="where to write the file for OWNKEY_CATALOG")
    asked = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with SimulatedProviders(host=asked.host, port=asked.port) as simulated:
        print(f"Simulated providers on {simulated.url} (what they saw: {simulated.url}/_sim/ledger)")
        if asked.catalog is not None:
            print(f"OWNKEY_CATALOG={simulated.write_catalog(asked.catalog)}")
        print("Ready. Ctrl-C ends it.", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
