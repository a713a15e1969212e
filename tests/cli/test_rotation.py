"""The way from one wrapping key to the next, as it is typed, beside a server that runs."""

from __future__ import annotations

from ownkey.crypto.key_text import generate_key_line
from tests.cli.shell import Shell


def test_a_rotation_as_an_operator_types_it(running: Shell) -> None:
    running.succeed("user", "create", "rotated")
    running.succeed("credential", "add", "groq", "--user", "rotated", text="gsk_rotation_as_it_is_typed")
    line = generate_key_line()
    new = line.partition(":")[0]
    key_file = running.data_dir / "wrapping.key"
    old = key_file.read_text().splitlines()[-1].partition(":")[0]
    key_file.write_text(f"{key_file.read_text()}{line}\n")
    # The server reads the file within two seconds; until it has, it is named as the one that lacks the key.
    while (done := running.run("credential", "rotate-wrapping-key", new, "--yes")).returncode:
        assert "is not loaded everywhere" in done.stderr
    assert "Moved" in done.stdout
    assert f"Next: ownkey credential retire-wrapping-key {old}" in done.stdout
    assert "is not retiring" in running.refuse(1, "credential", "retire-wrapping-key", new)
    assert f"Remove {old} from every server's wrapping keys" in running.succeed(
        "credential", "retire-wrapping-key", old
    )
    verified = running.read_json("audit", "verify")
    assert verified["ok"], "the key of its seals came along"
    actions = [entry["action"] for entry in running.read_json("audit", "list", "--limit", "20")]
    assert {"wrapping_key.promoted", "wrapping_key.retired"} <= set(actions)
