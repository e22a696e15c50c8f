"""The schemas of strategies and their modules; see `rest_schemas`."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tests.support.schema_types import Event, Flag, Hash, Millis, Name, Natural, Object, Stamp, Text, Texts


class ConfigField(Struct):
    name: Name
    type: Name
    description: str
    required: bool
    default: object = UNSET


class Strategy(Struct, rename="camel"):
    name: Name
    display_name: Annotated[str, Meta(min_length=1, max_length=80)]
    description: str
    config: list[ConfigField]
    events: list[Event]
    version: Text = UNSET


class Strategies(Struct):
    strategies: list[Strategy]


class Revision(Struct):
    hash: Hash
    path: Name
    size: Natural
    tag: Text = UNSET
    version: Text = UNSET
    retired: Flag = UNSET


class Pinned(Struct, rename="camel"):
    """The instances that run a revision."""

    hash: Hash
    instances: list[Name]
    count: Natural
    first_seen: Stamp | UnsetType = UNSET
    last_seen: Stamp | UnsetType = UNSET


class Module(Struct, rename="camel"):
    name: Name
    file: Name
    path: Name
    hash: Hash
    tags: list[Name]
    size: Natural
    metadata: Strategy
    running: list[Pinned] | None
    version: Text = UNSET
    tag_aliases: dict[str, Hash] | UnsetType = UNSET
    revisions: list[Revision] | UnsetType = UNSET


class Modules(Struct, rename="camel"):
    modules: list[Module]
    total: Natural | UnsetType = UNSET
    offset: Natural | UnsetType = UNSET
    limit: Natural | UnsetType | None = UNSET
    strategy_directory: Text = UNSET


class Usage(Struct, rename="camel"):
    strategy: Name
    hash: Hash
    count: Natural
    instances: Texts = UNSET
    first_seen: Stamp | UnsetType = UNSET
    last_seen: Stamp | UnsetType = UNSET
    running: Flag = UNSET


class Links(Struct):
    self: Name
    usage: Text = UNSET


class InstanceSummary(Struct, rename="camel"):
    id: Name
    strategy_identifier: Name
    providers: list[Name]
    aggregated_symbols: list[Name]
    running: bool
    strategy_tag: Text = UNSET
    strategy_hash: Hash | UnsetType = UNSET
    strategy_version: Text = UNSET
    strategy_selector: Text = UNSET
    baseline: Flag = UNSET
    dynamic: Flag = UNSET
    created_at: Millis | UnsetType = UNSET
    updated_at: Millis | UnsetType = UNSET
    metadata: Object | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    links: Links | UnsetType = UNSET


class ModuleUsage(Struct, rename="camel"):
    selector: Name
    strategy: Name
    hash: Hash
    usage: Usage
    instances: list[InstanceSummary]
    total: Natural
    offset: Natural
    limit: Natural | UnsetType = UNSET


class StoredModule(Struct):
    name: Name
    hash: Hash
    tag: Text = UNSET
    version: Text = UNSET
    file: Text = UNSET
    path: Text = UNSET


class Uploaded(Struct, rename="camel"):
    status: Name
    strategy_directory: Name
    filename: Text = UNSET
    module: StoredModule | UnsetType | None = UNSET


class RefreshedSelector(Struct, rename="camel"):
    selector: Name
    strategy: Text = UNSET
    hash: Hash | UnsetType = UNSET
    previous_hash: Hash | UnsetType = UNSET
    instances: Texts = UNSET
    reason: Text = UNSET


class Refreshed(Struct):
    status: Name
    results: list[RefreshedSelector] | UnsetType = UNSET


class TagAssigned(Struct, rename="camel"):
    status: Literal["tag_assigned"]
    strategy: Name
    tag: Name
    hash: Hash
    refresh: bool
    previous_hash: Hash | UnsetType = UNSET


class TagDeleted(Struct, rename="camel"):
    status: Literal["tag_deleted"]
    strategy: Name
    tag: Name
    hash: Hash
    allow_orphan: bool


class RegisteredRevision(Struct):
    path: Name
    tag: Text = UNSET


class RegisteredModule(Struct):
    tags: dict[str, Hash]
    hashes: dict[Hash, RegisteredRevision]


class Registry(Struct):
    registry: dict[str, RegisteredModule]
    usage: list[Usage]
