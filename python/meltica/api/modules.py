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
    """One of its tags, another than `latest` if it has one; absent without any."""
    path: str
    version: str | UnsetType = UNSET
    size: int
    """Bytes of the source."""
    retired: bool | UnsetType = UNSET
    """True if neither a tag nor an instance has it; absent otherwise."""


class RevisionUsage(Schema, frozen=True, kw_only=True):
    """The instances that are pinned to a revision."""

    strategy: str
    hash: str
    instances: list[str]
    """Their ids."""
    count: int
    """How many they are."""
    first_seen: str | UnsetType = UNSET
    """When the first of them was created; absent without any."""
    last_seen: str | UnsetType = UNSET
    """When one of them last changed; absent without any."""
    running: bool
    """Whether any of them runs."""


class StrategyModule(Schema, frozen=True, kw_only=True):
    """A module with all revisions. Hash, version, size and metadata are those of `latest`."""

    name: str
    file: str
    """The name of its file."""
    path: str
    hash: str
    """The revision."""
    version: str | UnsetType = UNSET
    tags: list[str]
    """All tags, `latest` too."""
    tag_aliases: dict[str, str]
    """Tag -> hash."""
    revisions: list[ModuleRevision]
    """All revisions, the first uploaded first."""
    running: list[RevisionUsage]
    """Revisions of which an instance runs."""
    size: int
    """Bytes of the source."""
    metadata: Strategy
    """What the class says about itself."""


class StrategyModules(Schema, frozen=True, kw_only=True):
    """A page of modules, by name."""

    modules: list[StrategyModule]
    """The modules of this page."""
    total: int
    """How many modules the query selects."""
    offset: int
    limit: int | UnsetType = UNSET
    strategy_directory: str
    """`database`: where the sources are."""


class ModuleUpload(Schema, frozen=True, kw_only=True):
    """A module to be stored."""

    source: str
    """The source, in Python."""
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
    """One of its tags; absent without any."""
    version: str | UnsetType = UNSET
    file: str
    """The name of its file."""
    path: str


class UploadResult(Schema, frozen=True, kw_only=True):
    """The result of an upload. Running instances are not affected."""

    filename: str | UnsetType = UNSET
    """The one of the request; absent without one."""
    status: Literal["pending_refresh"] = "pending_refresh"
    """`pending_refresh`: instances run on with their revisions until a refresh."""
    strategy_directory: str
    """`database`: where the source is."""
    module: UploadedModule
    """The revision that was stored."""
    not_enforced: list[str] | UnsetType = UNSET
    """Restrictions that the system does not support for the process of the check; absent without any."""


class ModuleDiagnostic(Schema, frozen=True, kw_only=True):
    """A fault of an upload."""

    stage: Literal["compile", "execute", "validation"]
    """Whether the source does not compile, fails when it is executed, or does not say what it must."""
    message: str
    """What is wrong."""
    line: int | UnsetType = UNSET
    """Where, from 1; absent if it is not known."""
    column: int | UnsetType = UNSET
    """Where in the line, from 1; absent if it is not known."""
    hint: str | UnsetType = UNSET
    """What to do, or the key that is concerned; absent without one."""


class ModuleFaults(Schema, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """The faults of an upload; nothing was stored."""

    error: Literal["strategy_validation_failed"] = "strategy_validation_failed"
    """`strategy_validation_failed`."""
    code: Literal["strategy_validation_failed"] = "strategy_validation_failed"
    """`strategy_validation_failed`."""
    message: str
    """The first fault."""
    diagnostics: list[ModuleDiagnostic]
    """All faults."""


class ModuleUsage(Schema, frozen=True, kw_only=True):
    """The instances that are pinned to one revision."""

    selector: str
    """The selector of the request."""
    strategy: str
    hash: str
    usage: RevisionUsage
    """The use of the revision, stopped instances included."""
    instances: list[InstanceSummary]
    """The instances of this page."""
    total: int
    """How many instances the query selects."""
    offset: int
    limit: int | UnsetType = UNSET


class TagTarget(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The revision that a tag will select."""

    hash: str
    """The revision, as `sha256:` and 64 hex digits."""
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
    """The selector of the instances, or the target of the request."""
    strategy: str | UnsetType = UNSET
    """The module; absent if there is none."""
    hash: str | UnsetType = UNSET
    """The revision that the selector selects now."""
    previous_hash: str | UnsetType = UNSET
    """The revision before; with the reason `failed`, it runs on."""
    instances: list[str] | UnsetType = UNSET
    """Their ids; absent without any."""
    reason: Literal["refreshed", "alreadyPinned", "retired", "failed"]
    """What became of them."""
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
    """`tag_assigned`."""
    strategy: str
    tag: str
    hash: str
    """The revision that it selects now."""
    previous_hash: str | UnsetType = UNSET
    """The revision before; absent for a new tag."""
    refresh: bool
    """Whether instances were moved."""
    results: list[RefreshedSelector] | UnsetType = UNSET
    """What the refresh did; absent without one, and while it continues in the background."""


class TagDeleted(Schema, frozen=True, kw_only=True):
    """A tag that was deleted."""

    status: Literal["tag_deleted"] = "tag_deleted"
    """`tag_deleted`."""
    strategy: str
    tag: str
    hash: str
    """The revision that it selected."""
    allow_orphan: bool
    """Whether it might be the last tag of the revision."""


class RegisteredRevision(Schema, frozen=True, kw_only=True):
    """Where the registry has a revision."""

    tag: str | UnsetType = UNSET
    """One of its tags; absent without any."""
    path: str


class RegisteredModule(Schema, frozen=True, kw_only=True):
    """The tags and revisions of a module."""

    tags: dict[str, str]
    """Tag -> hash."""
    hashes: dict[str, RegisteredRevision]
    """Hash -> where the revision is."""


class ModuleRegistry(Schema, frozen=True, kw_only=True):
    """All modules, and the use of their revisions."""

    registry: dict[str, RegisteredModule]
    """Name -> module."""
    usage: list[RevisionUsage]
    """Revisions that instances are pinned to."""
