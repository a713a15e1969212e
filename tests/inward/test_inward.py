"""No key is sent inside, and nothing there is knocked at: end to end, with names that lie and change their minds."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.inward.world import ROUNDS

_NAMESPACE = ["unshare", "--net", "--mount", "--propagation", "private"]
# A call, the list of models (429 and 503: that went wrong a moment ago already), and the test of the key.
UNREACHED = {f'[502, {models}, "unreachable"]' for models in (429, 502, 503)}


def test_nothing_inside_is_knocked_at() -> None:
    trial = "ip link set lo up && mount --bind /etc/hosts /etc/resolv.conf"
    allowed = subprocess.run([*_NAMESPACE, "sh", "-c", trial], capture_output=True, check=False, text=True)
    if allowed.returncode != 0:
        pytest.skip(f"a network of one's own needs root: {allowed.stderr.strip()}")
    with tempfile.TemporaryDirectory(prefix="ownkey-inward-") as place:
        Path(place).chmod(0o755)
        done = subprocess.run(
            [*_NAMESPACE, sys.executable, "-m", "tests.inward.world", place],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    print(json.dumps(report, indent=1))
    assert report["taken_by_form"] == []
    assert report["knocks"] == [report["public"]], "and that one shows that it would have been seen"
    assert report["urls"] >= 250
    for kind, count in (("plain", 65), ("mixed", 22), ("alias", 22)):
        assert sum(report["told"][kind].values()) == count
        assert set(report["told"][kind]) <= UNREACHED, report["told"][kind]
    assert set(report["told"]["redirect"]) <= UNREACHED, "a redirect is no answer"
    for turning in report["turning"].values():
        assert turning["asked"] == ROUNDS, "the name is asked for again each time"
        assert turning["told"] == {"200": ROUNDS // 2, "502": ROUNDS // 2}
        assert turning["served"] == ROUNDS // 2, "where it leads outside it is a provider like others"
