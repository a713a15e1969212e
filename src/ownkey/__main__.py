"""`python -m ownkey` is the command `ownkey`."""

from ownkey.cli.main import app

app(prog_name="ownkey")
