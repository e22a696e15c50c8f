"""`ModuleCatalogue`: the strategy modules of a gateway, by name, tag and hash."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from meltica.errors import LambdaError, NotFound, suggestion
from meltica.lambdas import shipped
from meltica.lambdas.modules.check import CheckResult, Diagnostic, UploadCheck, described
from meltica.lambdas.modules.names import Selector, parse, tag_fault
from meltica.lambdas.modules.revision import Revision
from meltica.persistence.stores.modules import LATEST, ModuleStore, NewRevision, RevisionRow, TagRow, UseRow


@dataclass(frozen=True)
class Module:
    """A module with its revisions, the oldest first."""

    name: str
    revisions: Sequence[RevisionRow]
    tags: dict[str, str]
    """Tag -> hash."""

    @property
    def latest(self) -> RevisionRow:
        """The revision that the name alone selects."""
        return self.revision(self.tags[LATEST])

    def revision(self, hash: str) -> RevisionRow:
        """Returns a revision. Raises NotFound."""
        for row in self.revisions:
            if row.hash == hash:
                return row
        raise NotFound(f"module `{self.name}` has no revision {hash}")

    def tagged(self, tag: str) -> str:
        """Returns the hash that a tag selects. Raises NotFound."""
        for name, hash in self.tags.items():
            if name.lower() == tag.lower():
                return hash
        raise NotFound(f"tag `{tag}` of module `{self.name}` does not exist{suggestion(tag, self.tags)}")

    def tag_of(self, hash: str) -> str | None:
        """Returns a tag that selects a revision: `latest` only if it has no other."""
        tags = [tag for tag, selected in self.tags.items() if selected == hash]
        return next((tag for tag in tags if tag != LATEST), tags[0] if tags else None)


class ModuleRefused(LambdaError):
    """An upload has faults; nothing was stored."""

    def __init__(self, faults: Sequence[Diagnostic], not_enforced: Sequence[str] = ()) -> None:
        self.faults = tuple(faults)
        self.not_enforced = tuple(not_enforced)
        super().__init__("; ".join(fault.message for fault in faults))


@dataclass(frozen=True)
class Upload:
    """A source to be stored, and how the client wants it tagged."""

    source: bytes
    tag: str | None = None
    """By default the version of the class; a stored source keeps its tags."""
    aliases: Sequence[str] = ()
    promote: bool | None = None
    """Whether `latest` moves to it; by default only to a source that was not stored yet."""
    name: str | None = None
    """The name that the class must have; any if it is None."""


class ModuleCatalogue:
    """Stores, finds and loads modules."""

    def __init__(self, store: ModuleStore, check: UploadCheck | None = None) -> None:
        self._store = store
        self._check = check or UploadCheck()

    async def modules(self) -> list[Module]:
        """Returns all modules, by name."""
        revisions, tags = await self._store.all()
        names = dict.fromkeys(row.name for row in revisions)
        return [_module(name, revisions, tags) for name in names]

    async def module(self, name: str) -> Module:
        """Returns a module. Raises NotFound with the nearest name."""
        modules = {module.name: module for module in await self.modules()}
        if name not in modules:
            raise NotFound(f"module `{name}` does not exist{suggestion(name, modules)}")
        return modules[name]

    async def find(self, selector: Selector) -> tuple[Module, RevisionRow]:
        """Returns the module and the revision that a selector selects. Raises NotFound."""
        if selector.name is None:
            assert selector.hash is not None
            for module in await self.modules():
                for row in module.revisions:
                    if row.hash == selector.hash:
                        return module, row
            raise NotFound(f"revision {selector.hash} does not exist")
        module = await self.module(selector.name)
        hash = selector.hash or module.tagged(selector.tag or LATEST)
        return module, module.revision(hash)

    async def resolve(self, selector: str) -> Revision:
        """Returns the revision that a selector selects now. Raises NotFound, and ValueError."""
        parsed = parse(selector)
        module, row = await self.find(parsed)
        tag = None if parsed.hash else parsed.tag or LATEST
        return await self._revision(Selector(module.name, tag, parsed.hash), row.hash)

    async def pinned(self, selector: Selector, hash: str) -> Revision:
        """Returns the revision that a selector selected when it was pinned. Raises NotFound."""
        return await self._revision(selector, hash)

    async def _revision(self, selector: Selector, hash: str) -> Revision:
        assert selector.name is not None
        return Revision(selector.name, hash, selector.tag, str(selector), await self._store.source(hash))

    async def upload(self, upload: Upload) -> tuple[Module, RevisionRow, CheckResult]:
        """Checks a module and stores it. Raises what `check` and `store` raise."""
        result = await self.check(upload)
        return *await self.store(upload, result), result

    async def check(self, upload: Upload) -> CheckResult:
        """Checks a module, which takes seconds, and changes nothing.

        Raises ModuleRefused with all faults, TooManyChecks and CheckFailed.
        """
        result = await self._check.run(upload.source)
        metadata = result.metadata
        if metadata is None:
            raise ModuleRefused(result.faults, result.not_enforced)
        text = None
        if shipped.find(metadata.name) is not None:
            text = f"the name `{metadata.name}` is that of a shipped strategy"
        elif upload.name is not None and metadata.name != upload.name:
            text = f"the class has the name `{metadata.name}`, the request `{upload.name}`"
        if text is not None:
            raise ModuleRefused([Diagnostic(stage="validation", message=text, hint="set `name`")])
        return result

    async def store(self, upload: Upload, result: CheckResult) -> tuple[Module, RevisionRow]:
        """Stores a module that was checked. Running instances are not affected.

        Raises AlreadyExists when the tag selects other content, and ValueError for a missing version or a bad
        tag.
        """
        metadata = result.metadata
        assert metadata is not None, "a module with faults is refused"
        hash = f"sha256:{hashlib.sha256(upload.source).hexdigest()}"
        tag = upload.tag or await self._tag_of(metadata.name, hash) or metadata.version
        if tag is None:
            raise ValueError("metadata version required: set `version` on the class, or pass a tag")
        aliases = [alias.strip().lower() for alias in upload.aliases]
        faults = [fault for fault in map(tag_fault, [tag, *aliases]) if fault is not None]
        if faults:
            raise ValueError("; ".join(faults))
        new = NewRevision(
            hash=hash,
            name=metadata.name,
            version=metadata.version,
            source=upload.source,
            metadata=described(metadata),
            tag=tag,
            aliases=aliases,
            promote=upload.promote,
        )
        await self._store.add(new)
        module = await self.module(metadata.name)
        return module, module.revision(new.hash)

    async def _tag_of(self, name: str, hash: str) -> str | None:
        modules = [module for module in await self.modules() if module.name == name]
        return modules[0].tag_of(hash) if modules else None

    async def set_tag(self, name: str, tag: str, hash: str) -> str | None:
        """Moves a tag; returns what it selected before. Raises NotFound, ValueError for a bad tag."""
        if (fault := tag_fault(tag)) is not None:
            raise ValueError(fault)
        await self.module(name)
        return await self._store.set_tag(name, tag, hash)

    async def delete_tag(self, name: str, tag: str, *, allow_orphan: bool) -> str:
        """Deletes a tag; returns what it selected. Raises NotFound, Conflict."""
        await self.module(name)
        return await self._store.delete_tag(name, tag, allow_orphan=allow_orphan)

    async def delete(self, selector: Selector) -> None:
        """Deletes a module, or one revision with all its tags. Raises NotFound, and Conflict if in use."""
        module, row = await self.find(selector)
        whole = selector.name is not None and selector.tag is None and selector.hash is None
        hashes = [each.hash for each in module.revisions] if whole else [row.hash]
        await self._store.delete(module.name, hashes)

    async def source(self, selector: Selector) -> bytes:
        """Returns the source of a revision. Raises NotFound."""
        return await self._store.source((await self.find(selector))[1].hash)

    async def uses(self, hashes: Sequence[str]) -> list[UseRow]:
        """Returns the instances that are pinned to one of the revisions, by id."""
        return await self._store.uses(hashes)


def _module(name: str, revisions: Sequence[RevisionRow], tags: Sequence[TagRow]) -> Module:
    own = [row for row in revisions if row.name == name]
    selected = {row.tag: row.hash for row in tags if row.name == name}
    return Module(name, own, selected)
