"""`/context/backup`: everything that was configured while the gateway ran, as a file."""

from typing import Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, Schema
from meltica.api.instances import ScopeEntry
from meltica.api.risk import RiskLimits

Text = str | UnsetType


class BackupProvider(Schema, frozen=True, kw_only=True):
    """A provider that is not in the config file."""

    name: str
    adapter: str
    config: JsonObject
    """Its settings; secrets are masked."""
    was_running: bool


class BackupStrategy(Schema, frozen=True, kw_only=True):
    """The strategy of an instance, and the revision that it is pinned to."""

    identifier: str
    config: JsonObject
    selector: Text = UNSET
    tag: Text = UNSET
    hash: Text = UNSET


class BackupInstance(Schema, frozen=True, kw_only=True):
    """An instance that is not in the config file."""

    id: str
    strategy: BackupStrategy
    scope: dict[str, ScopeEntry]
    host: Literal["thread", "shared"]
    dry_run: bool
    on_stop: Literal["cancel", "keep"]
    was_running: bool


class BackupModule(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A revision of a strategy module."""

    name: str
    hash: str
    version: Text = UNSET
    created_at: int
    tags: list[str]
    metadata: JsonObject
    source: Text = UNSET
    source_base64: Text = UNSET
    """Instead of `source`, if it is not UTF-8."""


class Backup(Schema, frozen=True, kw_only=True):
    """A backup. Without a passphrase it has no secrets."""

    version: int
    """The version of the format."""
    generated_at: str
    environment: str
    providers: list[BackupProvider]
    lambdas: list[BackupInstance]
    risk: RiskLimits
    """The limits of the global scope, for clients that do not read `limits`."""
    limits: dict[str, JsonObject]
    """Scope (`global`, `provider:NAME` or `instance:ID`) -> all of its limits; null does not limit."""
    runtime: JsonObject
    """The settings that were set over REST, with the keys of the config file."""
    modules: list[BackupModule]
    secrets: JsonObject | UnsetType = UNSET
    """The secrets of providers, encrypted under the passphrase; with the parameters of Argon2id."""
    checksum: str
    """SHA-256 of everything else."""


class ProviderSection(Schema, frozen=True, kw_only=True):
    """The providers of a backup."""

    config: JsonObject
    """Those of the config file are not in a backup: empty."""
    runtime: list[BackupProvider]


class InstanceSection(Schema, frozen=True, kw_only=True):
    """The instances of a backup."""

    instances: list[BackupInstance]


class ConfigBackup(Schema, frozen=True, kw_only=True):
    """A backup in the form of `/config/backup`; all keys are those of `Backup`."""

    version: str
    generated_at: str
    environment: str
    runtime: JsonObject
    providers: ProviderSection
    lambdas: InstanceSection
    risk: RiskLimits
    limits: dict[str, JsonObject]
    modules: list[BackupModule]
    secrets: JsonObject | UnsetType = UNSET
    checksum: str


class Restored(Schema, frozen=True, kw_only=True):
    """The result of a restore."""

    status: Literal["restored", "restoring"] = "restored"
    """`restoring` while the restore goes on; the audit has its row when it is written."""
    changes: dict[str, Literal["created", "updated", "deleted"]] = {}
    """What changed, such as `provider:NAME`, `instance:ID`, `limits:SCOPE` and `tag:NAME:TAG`."""
    stopped: list[str] = []
    """What ran and was stopped, because it changed."""
    skipped: list[str] = []
    """What was left alone, because it is in the config file."""
    missing_secrets: dict[str, list[str]] = {}
    """Provider -> settings whose secret is neither in the backup nor stored; set them again."""
    started: list[str] = []
    failed: dict[str, str] = {}
    """What did not start, with the reason."""


class ConfigRestored(Schema, frozen=True, kw_only=True):
    """The result of a restore by `/config/backup`; the other keys are those of `Restored`."""

    status: Literal["restored", "restoring"]
    providers: int
    """How many providers the backup has."""
    lambdas: int
    """How many instances the backup has."""
    changes: dict[str, Literal["created", "updated", "deleted"]]
    stopped: list[str]
    skipped: list[str]
    missing_secrets: dict[str, list[str]]
    started: list[str]
    failed: dict[str, str]
