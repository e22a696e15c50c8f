"""`/strategies/modules`: uploaded strategies, their revisions and tags."""

from typing import Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.api.instances import InstanceSummary
from meltica.api.strategies import Strategy


class ModuleRevision(Schema, frozen=True, kw_only=True):
    """One exact content of a module."""

    hash: str
    tag: str | UnsetType = UNSET
    path: str
    version: str | UnsetType = UNSET
    size: int
    retired: bool | UnsetType = UNSET
    """True if neither a tag nor an instance has it; absent otherwise."""


class RevisionUsage(Schema, frozen=True, kw_only=True):
    """The instances that are pinned to a revision."""

    strategy: str
    hash: str
    instances: list[str]
    count: int
    first_seen: str | UnsetType = UNSET
    last_seen: str | UnsetType = UNSET
    running: bool
    """Whether any of them runs."""


class StrategyModule(Schema, frozen=True, kw_only=True):
    """A module with all revisions. Hash, version, size and metadata are those of `latest`."""

    name: str
    file: str
    path: str
    hash: str
    version: str | UnsetType = UNSET
    tags: list[str]
    tag_aliases: dict[str, str]
    """Tag -> hash."""
    revisions: list[ModuleRevision]
    running: list[RevisionUsage]
    """Revisions of which an instance runs."""
    size: int
    metadata: Strategy


class StrategyModules(Schema, frozen=True, kw_only=True):
    """A page of modules, by name."""

    modules: list[StrategyModule]
    total: int
    offset: int
    limit: int | UnsetType = UNSET
    strategy_directory: str


class ModuleUpload(Schema, frozen=True, kw_only=True):
    """A module to be stored."""

    source: str
    tag: str | None = None
    """By default the `version` of the class; a stored source keeps its tags."""
    aliases: list[str] | None = None
    """More tags; one that another revision has stays there."""
    promote_latest: bool | None = None
    """Whether `latest` moves to the revision; by default only to a source that was not stored yet."""
    name: str | None = None
    """Ignored: the name is that of the class."""
    filename: str | None = None
    """Returned as it is."""


class UploadedModule(Schema, frozen=True, kw_only=True):
    """A stored revision."""

    name: str
    hash: str
    tag: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    file: str
    path: str


class UploadResult(Schema, frozen=True, kw_only=True):
    """The result of an upload. Running instances are not affected."""

    filename: str | UnsetType = UNSET
    status: Literal["pending_refresh"] = "pending_refresh"
    strategy_directory: str
    module: UploadedModule
    not_enforced: list[str] | UnsetType = UNSET
    """Restrictions that the system does not support for the process of the check; absent without any."""


class ModuleDiagnostic(Schema, frozen=True, kw_only=True):
    """A fault of an upload."""

    stage: Literal["compile", "execute", "validation"]
    message: str
    line: int | UnsetType = UNSET
    column: int | UnsetType = UNSET
    hint: str | UnsetType = UNSET


class ModuleFaults(Schema, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """The faults of an upload; nothing was stored."""

    error: Literal["strategy_validation_failed"] = "strategy_validation_failed"
    code: Literal["strategy_validation_failed"] = "strategy_validation_failed"
    message: str
    diagnostics: list[ModuleDiagnostic]


class ModuleUsage(Schema, frozen=True, kw_only=True):
    """The instances that are pinned to one revision."""

    selector: str
    strategy: str
    hash: str
    usage: RevisionUsage
    instances: list[InstanceSummary]
    total: int
    offset: int
    limit: int | UnsetType = UNSET


class TagTarget(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The revision that a tag will select."""

    hash: str
    refresh: bool | None = None
    """Whether the instances that the tag selects are moved to the revision; true by default."""


class RefreshTargets(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is refreshed; everything without any."""

    strategies: list[str] | None = None
    """Names of modules."""
    hashes: list[str] | None = None
    """Revisions that instances are pinned to."""


class RefreshedSelector(Schema, frozen=True, kw_only=True):
    """What a refresh did to the instances with one selector.

    Also a target that matched no instance, with the reason `retired`, and a file of `strategies.directory`
    that was not stored.
    """

    selector: str
    strategy: str | UnsetType = UNSET
    hash: str | UnsetType = UNSET
    """The revision that the selector selects now."""
    previous_hash: str | UnsetType = UNSET
    """The revision before; with the reason `failed`, it runs on."""
    instances: list[str] | UnsetType = UNSET
    reason: Literal["refreshed", "alreadyPinned", "retired", "failed"]
    error: str | UnsetType = UNSET
    """Why it failed."""


class RefreshResult(Schema, frozen=True, kw_only=True):
    """The result of a refresh."""

    status: Literal["refreshed", "partial_refresh", "refreshing"]
    """`refreshing` if it continues in the background."""
    results: list[RefreshedSelector] | UnsetType = UNSET
    """By selector; absent while it continues."""


class TagAssigned(Schema, frozen=True, kw_only=True):
    """A tag that selects another revision now."""

    status: Literal["tag_assigned"] = "tag_assigned"
    strategy: str
    tag: str
    hash: str
    previous_hash: str | UnsetType = UNSET
    refresh: bool
    results: list[RefreshedSelector] | UnsetType = UNSET
    """What the refresh did; absent without one, and while it continues in the background."""


class TagDeleted(Schema, frozen=True, kw_only=True):
    """A tag that was deleted."""

    status: Literal["tag_deleted"] = "tag_deleted"
    strategy: str
    tag: str
    hash: str
    allow_orphan: bool


class RegisteredRevision(Schema, frozen=True, kw_only=True):
    """Where the registry has a revision."""

    tag: str | UnsetType = UNSET
    path: str


class RegisteredModule(Schema, frozen=True, kw_only=True):
    """The tags and revisions of a module."""

    tags: dict[str, str]
    hashes: dict[str, RegisteredRevision]


class ModuleRegistry(Schema, frozen=True, kw_only=True):
    """All modules, and the use of their revisions."""

    registry: dict[str, RegisteredModule]
    usage: list[RevisionUsage]
