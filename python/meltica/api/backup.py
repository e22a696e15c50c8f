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
    """The identifier of its adapter."""
    config: JsonObject
    """Its settings; secrets are masked."""
    was_running: bool
    """Whether it was to run."""


class BackupStrategy(Schema, frozen=True, kw_only=True):
    """The strategy of an instance, and the revision that it is pinned to."""

    identifier: str
    """The name of the strategy."""
    config: JsonObject
    """The configured values."""
    selector: Text = UNSET
    """How a stored module was selected; absent for another strategy."""
    tag: Text = UNSET
    """The tag that selected the revision; absent without one."""
    hash: Text = UNSET
    """The revision that it is pinned to; absent without one."""


class BackupInstance(Schema, frozen=True, kw_only=True):
    """An instance that is not in the config file."""

    id: str
    strategy: BackupStrategy
    """Its strategy and the config."""
    scope: dict[str, ScopeEntry]
    """Symbols by provider."""
    host: Literal["thread", "shared"]
    """Whether it has a thread of its own, or shares one."""
    dry_run: bool
    """Whether its orders go to paper accounts."""
    on_stop: Literal["cancel", "keep"]
    """Whether its open orders are cancelled or kept when it stops."""
    was_running: bool
    """Whether it was to run."""


class BackupModule(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A revision of a strategy module."""

    name: str
    hash: str
    version: Text = UNSET
    """The `version` of the class; absent without one."""
    created_at: int
    tags: list[str]
    """The tags that select it."""
    metadata: JsonObject
    """What the class says about itself."""
    source: Text = UNSET
    """The source, in Python."""
    source_base64: Text = UNSET
    """Instead of `source`, if it is not UTF-8."""


class Backup(Schema, frozen=True, kw_only=True):
    """A backup. Without a passphrase it has no secrets."""

    version: int
    """The version of the format."""
    generated_at: str
    """When it was made, as RFC 3339."""
    environment: str
    """The environment of the gateway."""
    providers: list[BackupProvider]
    """Those that are not in the config file."""
    lambdas: list[BackupInstance]
    """The instances that are not in the config file."""
    risk: RiskLimits
    """The limits of the global scope, for clients that do not read `limits`."""
    limits: dict[str, JsonObject]
    """Scope (`global`, `provider:NAME` or `instance:ID`) -> all of its limits; null does not limit."""
    runtime: JsonObject
    """The settings that were set over REST, with the keys of the config file."""
    modules: list[BackupModule]
    """All revisions of all modules."""
    secrets: JsonObject | UnsetType = UNSET
    """The secrets of providers, encrypted under the passphrase; with the parameters of Argon2id."""
    checksum: str
    """SHA-256 of everything else."""


class ProviderSection(Schema, frozen=True, kw_only=True):
    """The providers of a backup."""

    config: JsonObject
    """Those of the config file are not in a backup: empty."""
    runtime: list[BackupProvider]
    """Those that are not in the config file."""


class InstanceSection(Schema, frozen=True, kw_only=True):
    """The instances of a backup."""

    instances: list[BackupInstance]
    """Those that are not in the config file."""


class ConfigBackup(Schema, frozen=True, kw_only=True):
    """A backup in the form of `/config/backup`; all keys are those of `Backup`."""

    version: str
    """The version of the format, as text."""
    generated_at: str
    """When it was made, as RFC 3339."""
    environment: str
    """The environment of the gateway."""
    runtime: JsonObject
    """The settings that were set over REST."""
    providers: ProviderSection
    """The providers, in sections."""
    lambdas: InstanceSection
    """The instances, in a section."""
    risk: RiskLimits
    """The limits of the global scope, for clients that do not read `limits`."""
    limits: dict[str, JsonObject]
    """Scope -> all of its limits; null does not limit."""
    modules: list[BackupModule]
    """All revisions of all modules."""
    secrets: JsonObject | UnsetType = UNSET
    """The secrets of providers, encrypted under the passphrase."""
    checksum: str
    """SHA-256 of everything else."""


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
    """What was started, with `start=true`."""
    failed: dict[str, str] = {}
    """What did not start, with the reason."""


class ConfigRestored(Schema, frozen=True, kw_only=True):
    """The result of a restore by `/config/backup`; the other keys are those of `Restored`."""

    status: Literal["restored", "restoring"]
    """`restoring` while the restore goes on."""
    providers: int
    """How many providers the backup has."""
    lambdas: int
    """How many instances the backup has."""
    changes: dict[str, Literal["created", "updated", "deleted"]]
    """What changed, such as `provider:NAME`, and how."""
    stopped: list[str]
    """What ran and was stopped, because it changed."""
    skipped: list[str]
    """What was left alone, because it is in the config file."""
    missing_secrets: dict[str, list[str]]
    """Provider -> settings whose secret is neither in the backup nor stored."""
    started: list[str]
    """What was started, with `start=true`."""
    failed: dict[str, str]
    """What did not start, with the reason."""
