"""The operator's configuration: read once from `OWNKEY_*` variables, then frozen."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

from msgspec import Struct
from msgspec.structs import fields as struct_fields

from ownkey.errors import ConfigError

PREFIX: Final = "OWNKEY_"
_CHOICES: Final = {
    "log_level": ("debug", "info", "warning", "error"),
    "usage_durability": ("process", "disk", "database"),
}
_LARGEST: Final = 10**12
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "port": (0, 65535),
    "workers": (1, 256),
    "database_pool_size": (1, 1000),
    "max_body_bytes": (1024, 2**31),
    "max_bodies_bytes": (1024 * 1024, 2**40),
    "max_answer_bytes": (1024, 2**32),
    "connect_timeout_seconds": (0.1, 600),
    "first_byte_timeout_seconds": (0.1, 86_400),
    "idle_timeout_seconds": (0.1, 86_400),
    "total_timeout_seconds": (0.1, 86_400),
    "retry_wait_seconds": (0, 60),
    "header_timeout_seconds": (0.1, 3600),
    "body_timeout_seconds": (0.1, 3600),
    "keep_alive_seconds": (1, 3600),
    "client_stall_seconds": (0.1, 3600),
    "max_connections": (16, 1_000_000),
    "max_connections_per_address": (0, 1_000_000),
    "user_concurrency": (0, 100_000),
    "drain_ready_seconds": (0, 3600),
    "shutdown_grace_seconds": (0, 86_400),
    "drain_limit": (0, 100_000),
    "drain_seconds": (0, 3600),
    "drain_bytes": (0, 2**32),
    "snapshot_cache_size": (1, 10_000_000),
    "snapshot_max_age_seconds": (0.05, 3600),
    "stale_seconds": (0, 86_400),
    "usage_flush_seconds": (0.01, 60),
    "usage_queue_size": (1, 10_000_000),
    "usage_retention_months": (0, 1200),
    "spool_max_bytes": (32 * 2**20, 2**44),
    "jwt_max_lifetime_seconds": (60, 30 * 86_400),
    "session_idle_seconds": (60, 31_536_000),
    "session_lifetime_seconds": (60, 31_536_000),
}


def default_data_dir() -> Path:
    """Where the embedded database and the wrapping key live when nothing else is said.

    As root this must not be under a home: PostgreSQL will not run as root, so another user has to be able
    to walk there, and opening a home for that would be a leak.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/ownkey")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "ownkey"


class Config(Struct, frozen=True, kw_only=True):
    """Every setting, with its default. The variable is the field's name in capitals after `OWNKEY_`."""

    # Any PostgreSQL 15 or newer; empty: an embedded one in the data directory.
    database_url: str | None = None
    # The role that owns the schema, where it is not the one that serves; empty: the same URL.
    migration_database_url: str | None = None
    # A direct URL for hearing of changes, where a pooler in transaction mode stands before the other; empty: the same.
    listen_database_url: str | None = None
    # Whether the database URL leads to a pooler in transaction mode (PgBouncer, Supavisor).
    database_pooler: bool = False
    # Connections to PostgreSQL per process.
    database_pool_size: int = 8
    # The embedded database, the wrapping key and local state.
    data_dir: Path = default_data_dir()
    # Address to listen on.
    host: str = "127.0.0.1"
    # Port to listen on; 0 picks a free one and prints it.
    port: int = 8484
    # Processes that `ownkey serve` starts: one for each processor core, where one is not enough.
    workers: int = 1
    # Where people open this server, such as https://llm.example.com; empty: as each request says. Set it behind a proxy
    # with TLS, which changes what a request says.
    public_url: str | None = None
    # Origins of pages that may embed the panel, such as https://app.example.com, with commas.
    panel_origins: tuple[str, ...] = ()
    # Addresses or networks of proxies whose X-Forwarded-For names the client, with commas; only for counting attempts
    # to sign in.
    trusted_proxies: tuple[str, ...] = ()
    # How long somebody stays signed in without a request.
    session_idle_seconds: float = 43_200.0
    # How long somebody stays signed in at most.
    session_lifetime_seconds: float = 1_209_600.0
    # `id:base64` of 32 random bytes, or `id:URL` of a key at a key service; several with commas. The first one wraps
    # until another is made primary: see docs/how-to/rotate-wrapping-keys.md.
    wrapping_keys: str | None = None
    # A file with the same content, mode 0600, which is read again when it changes.
    wrapping_key_file: Path | None = None
    # A file with the token for wrapping keys at OpenBao or Vault, as their agent writes it; empty: `VAULT_TOKEN` or
    # `BAO_TOKEN`.
    key_service_token_file: Path | None = None
    # Bound into every ciphertext, so that a copy of the database does not open in another deployment.
    deployment_id: str = "default"
    # A TOML file with further providers, in the form of the built-in catalogue.
    catalog: Path | None = None
    # A TOML file with prices of your own, with dates, in place of the built-in table's.
    prices: Path | None = None
    # Providers that users may use; empty: all of the catalogue.
    allowed_providers: tuple[str, ...] = ()
    # Whether the operator's provider keys from the environment stand behind the users' own.
    shared_keys: bool = True
    # The provider of last resort, with the operator's key.
    ultimate_provider: str = "openai"
    # Whether users may set a base URL of their own.
    custom_base_urls: bool = False
    # Whether those may be http and inside the operator's own network.
    private_base_urls: bool = False
    # Largest request body under /v1, in bytes: images and documents travel inside.
    max_body_bytes: int = 32 * 1024 * 1024
    # All request bodies together that do not come in one piece, in bytes, per process; a body may be in memory three
    # times while it is sent on.
    max_bodies_bytes: int = 512 * 1024 * 1024
    # Largest answer of a provider, in bytes, after decompression.
    max_answer_bytes: int = 64 * 1024 * 1024
    # Time to open a connection to a provider.
    connect_timeout_seconds: float = 5.0
    # Time until a provider's first byte: reasoning models think before they speak.
    first_byte_timeout_seconds: float = 120.0
    # Longest silence inside a stream.
    idle_timeout_seconds: float = 60.0
    # Longest answer from first to last byte.
    total_timeout_seconds: float = 900.0
    # Longest Retry-After that is waited for with the same credential.
    retry_wait_seconds: float = 2.0
    # Calls whose clients have left in the middle that are read on at once, for the sake of the usage at their end; the
    # rest of such an answer is paid for. 0: they are cut, and what was used until then is estimated.
    drain_limit: int = 100
    # How long such a call is read on.
    drain_seconds: float = 30.0
    # How much of such an answer is read, in bytes.
    drain_bytes: int = 1024 * 1024
    # How long a client may take for the head of a request.
    header_timeout_seconds: float = 15.0
    # How long a client may take for a request's body, beside the time that it takes at 4 KiB per second.
    body_timeout_seconds: float = 30.0
    # How long a connection is kept without a request; longer than a proxy in front keeps it.
    keep_alive_seconds: float = 75.0
    # How long a client may take nothing of its answer before it is cut.
    client_stall_seconds: float = 60.0
    # Connections of clients per process, as far as the system allows it to open so many files; beyond it they hear 503.
    max_connections: int = 10_000
    # The same of one address; 0: as many. Leave it behind a proxy, from which all clients come.
    max_connections_per_address: int = 0
    # Requests of one user that are under way at once, per process; more of them wait for about a second and hear 429
    # then. 0: as many.
    user_concurrency: int = 100
    # After SIGTERM, how long the server goes on and only says in /readyz that it will end, so that balancers notice.
    drain_ready_seconds: float = 0.0
    # After that, how long running requests may take to finish. What is left is cut, and told so in its own form.
    shutdown_grace_seconds: float = 25.0
    # Users whose settings are kept in memory, per process: with three keys each takes about 1.2 KB, and the 1,024 who
    # were brought back last take some 7 KB each.
    snapshot_cache_size: int = 100_000
    # How often each process asks the database what has changed: for so long a change may go unnoticed whose
    # notification was lost. The cost follows from the number of changes, not of users.
    snapshot_max_age_seconds: float = 0.5
    # While the database cannot be reached, users whose settings are in memory are served for so long; then they get
    # 503, as others do at once. What is withdrawn meanwhile is not known here. 0: for the five seconds that it takes to
    # be sure.
    stale_seconds: float = 90.0
    # How often usage events are written to PostgreSQL.
    usage_flush_seconds: float = 0.5
    # Usage events that may wait in memory; beyond it requests are refused rather than left unmetered.
    usage_queue_size: int = 100_000
    # What the record of a call has survived before the last byte of its answer: `process` (this process's end, however
    # it comes), `disk` (the machine's, too) or `database` (it is in PostgreSQL: for machines whose disk does not stay).
    usage_durability: Literal["process", "disk", "database"] = "process"
    # Where calls stand until they are in PostgreSQL, a directory for each database; empty: one in the data directory.
    spool_dir: Path | None = None
    # What the spool of one process may take of the disk; beyond it requests are refused.
    spool_max_bytes: int = 1024 * 1024 * 1024
    # Where copies of the audit chains' ends are kept, which show whether entries were cut off or a backup was put in
    # the place of the log: better on another disk than the database's. Empty: in the data directory.
    audit_anchor_file: Path | None = None
    # How many whole months of single calls are kept behind this one; 0: all. Their daily sums stay in any case.
    usage_retention_months: int = 0
    # Redis or Valkey for counting calls and tokens per minute, `redis://host:6379/0` (extra `ownkey[redis]`); empty:
    # PostgreSQL counts them.
    limits_url: str | None = None
    # Whether a key without credit is tried again with a request of a few tokens, which costs its owner some millionths
    # of a dollar once there is credit again; else only its owner's requests find that out.
    credit_probes: bool = True
    # Where the host application hears of events: an http or https URL of the operator's own, which may be in their
    # network. See docs/reference/webhooks.md.
    webhook_url: str | None = None
    # What signs them: `whsec_` and the base64 of 24 to 64 random bytes; several with commas while a receiver changes
    # over.
    webhook_secret: str | None = None
    # Who signs the host application's tokens (JWT): the exact text of their claim `iss`.
    jwt_issuer: str | None = None
    # What must be among the audiences (`aud`) of those tokens.
    jwt_audience: str | None = None
    # Where the issuer publishes its public keys (JWKS): https, or http on this machine.
    jwt_jwks_url: str | None = None
    # Instead of published keys: the secret of at least 32 bytes that the host signs with (HS256).
    jwt_secret: str | None = None
    # The only signature algorithms that count; empty: RS256, ES256 and EdDSA with published keys, HS256 with a secret.
    jwt_algorithms: tuple[str, ...] = ()
    # The claim that is the user's id here; `email` counts only with `email_verified`.
    jwt_user_claim: str = "sub"
    # A token that is valid for longer is refused.
    jwt_max_lifetime_seconds: float = 86_400.0
    # Whether an administrator's token carries the scope `admin`.
    jwt_admins: bool = False
    # Whether tokens of people who have not signed up (`is_anonymous`) are let in.
    jwt_anonymous: bool = False
    # A Supabase project, `https://<ref>.supabase.co`: sets the issuer, the audience and the URL of the keys.
    supabase_url: str | None = None
    # An OpenID Connect provider that people may sign in with: its issuer, such as https://login.example.com. It sends
    # people back to <where this server is opened>/api/sign-in/oidc/sso/callback.
    oidc_issuer: str | None = None
    # The id under which that provider knows this server.
    oidc_client_id: str | None = None
    # The secret that belongs to it; empty: a public client, which PKCE alone protects.
    oidc_client_secret: str | None = None
    # The provider's name on the button "Continue with …".
    oidc_label: str = "SSO"
    # The claim that is the user's id here; `email` counts only with `email_verified`.
    oidc_user_claim: str = "sub"
    # What is asked for.
    oidc_scopes: tuple[str, ...] = ("openid", "profile", "email")
    # Only people with a verified e-mail address in one of these domains, with commas; empty: everybody whom the
    # provider lets in, which at a public provider is everybody.
    oidc_email_domains: tuple[str, ...] = ()
    # debug, info, warning or error.
    log_level: str = "info"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read every `OWNKEY_*` variable. Raises ConfigError for a value that does not parse or an unknown name."""
        environ = os.environ if environ is None else environ
        hints = get_type_hints(cls)
        known = {PREFIX + field.name.upper(): field.name for field in struct_fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX) or text == "":
                continue
            if variable not in known:
                raise ConfigError(f"{variable} is not a setting of Ownkey. `ownkey serve --help` lists them.")
            name = known[variable]
            values[name] = _parse(variable, text, hints[name])
        return cls(**values)

    @property
    def embedded(self) -> bool:
        """Whether this process runs its own PostgreSQL."""
        return self.database_url is None


def _parse(variable: str, text: str, hint: object) -> object:
    parsers: dict[object, Callable[[str], object]] = {
        int: int,
        float: float,
        bool: _parse_bool,
        Path: Path,
        Path | None: Path,
        tuple[str, ...]: lambda value: tuple(part.strip() for part in value.split(",") if part.strip()),
    }
    try:
        value = parsers.get(hint, str)(text)
    except ValueError:
        raise ConfigError(f"{variable} does not hold a valid value.") from None
    name = variable.removeprefix(PREFIX).lower()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = _BOUNDS.get(name, (0, _LARGEST))
        if not low <= value <= high:  # what is not a number is not within bounds either
            raise ConfigError(f"{variable} must be between {low:g} and {high:g}.")
    if name in _CHOICES and str(value).lower() not in _CHOICES[name]:
        raise ConfigError(f"{variable} is one of {', '.join(_CHOICES[name])}.")
    if value == ():
        raise ConfigError(f"{variable} holds no name. Leave it empty to allow everything.")
    return value


def _parse_bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError(text)
