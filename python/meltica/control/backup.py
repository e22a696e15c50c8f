"""Makes backups of what is configured while the gateway runs.

What the config file declares is left out, except limits: those in force are in the backup.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, to_builtins

from meltica.api.backup import BackupInstance, BackupModule, BackupProvider, BackupStrategy
from meltica.api.instances import ScopeEntry
from meltica.control import instance_changes, limit_changes, provider_changes
from meltica.control.backup_file import MAX_BYTES, VERSION, encode
from meltica.errors import ConfigError
from meltica.http.errors import HttpError
from meltica.lambdas.modules.names import stored
from meltica.persistence.passphrase import seal
from meltica.runtime.lifecycle import Desired
from meltica.runtime.threads import call
from meltica.settings.runtime import nested
from meltica.validation.models import MASK

if TYPE_CHECKING:
    from meltica.control.services import ControlServices
    from meltica.persistence.stores.context import StoredRevision
    from meltica.persistence.stores.instances import InstanceRow
    from meltica.persistence.stores.modules import TagRow
    from meltica.persistence.stores.providers import ProviderRow

ATTEMPTS: Final = 5
"""How often the modules are read while instances are being pinned to new ones."""


def configured(
    services: "ControlServices", revisions: Mapping[str, str], tags: "list[TagRow]"
) -> dict[str, Any]:
    """Returns what is configured, by component: versions, plans and the audit are made of that.

    `revisions` maps hashes to the names of modules.
    """
    providers, instances = services.context.rows()
    return {
        **{
            provider_key(row.name): provider_changes.configured(row)
            for row in providers
            if row.origin == "dynamic"
        },
        **{instance_key(row.id): pinned(row) for row in instances if row.origin == "dynamic"},
        **{limits_key(scope): limits for scope, limits in limit_changes.configured(services).items()},
        **{setting_key(key): value for key, value in services.configuration.stored.items()},
        **{f"revision:{hash}": {"name": name} for hash, name in revisions.items()},
        **{tag_key(tag.name, tag.tag): tag.hash for tag in tags},
    }


def provider_key(name: str) -> str:
    """Returns the key of a provider in what is configured."""
    return f"provider:{name}"


def instance_key(id: str) -> str:
    """Returns the key of an instance."""
    return f"instance:{id}"


def limits_key(scope: str) -> str:
    """Returns the key of the limits of a scope."""
    return f"limits:{scope}"


def setting_key(key: str) -> str:
    """Returns the key of a setting."""
    return f"setting:{key}"


def tag_key(name: str, tag: str) -> str:
    """Returns the key of a tag; its case is not significant."""
    return f"tag:{name}:{tag.lower()}"


def pinned(record: Any) -> dict[str, Any]:
    """Returns what is configured of an instance, with its pin."""
    shown = instance_changes.configured(record)
    return shown if stored(record.selector) is None else {**shown, "revision": record.revision}


async def make_backup(
    services: "ControlServices", passphrase: str | None, *, sections: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """Returns the file of a backup, and what is configured. With a passphrase, the file has the secrets.

    With `sections`, it has the form of `/config/backup`.

    Raises HttpError, PassphraseError and DatabaseError.
    """
    for _ in range(ATTEMPTS):
        revisions, tags = await services.context.contents()
        rows = services.context.rows()
        providers = [row for row in rows[0] if row.origin == "dynamic"]
        instances = [row for row in rows[1] if row.origin == "dynamic"]
        hashes = {each.hash for each in revisions}
        if all(row.revision in hashes for row in instances if stored(row.selector) is not None):
            break
    else:
        raise HttpError(409, "conflict", "backup not made: modules are being changed; retry")
    if sum(len(each.source) for each in revisions) > MAX_BYTES:
        text = f"the sources of modules have more than {MAX_BYTES:,} bytes; delete revisions"
        raise HttpError(409, "backup_too_large", f"backup not made: {text}")
    state = configured(services, {each.hash: each.name for each in revisions}, tags)
    document: dict[str, Any] = {
        "version": VERSION,
        "generatedAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "environment": services.environment,
        "providers": [to_builtins(_provider(row)) for row in providers],
        "lambdas": [to_builtins(_instance(row)) for row in instances],
        "risk": to_builtins(limit_changes.limits_of(services.trading.limits.of_global())),
        "limits": limit_changes.configured(services),
        "runtime": nested(services.configuration.stored),
        "modules": [to_builtins(_module(each, tags)) for each in revisions],
    }
    if passphrase is not None:
        secrets = _secrets(services, providers)
        document["secrets"] = to_builtins(await call(lambda: seal(passphrase, secrets), "meltica-passphrase"))
    if sections:
        document["version"] = str(VERSION)
        document["providers"] = {"config": {}, "runtime": document["providers"]}
        document["lambdas"] = {"instances": document["lambdas"]}
    return await call(lambda: encode(document), "meltica-backup"), state


def _provider(row: "ProviderRow") -> BackupProvider:
    running = row.desired is Desired.RUNNING
    config = row.settings | dict.fromkeys(row.secrets, MASK)
    return BackupProvider(name=row.name, adapter=row.adapter, config=config, was_running=running)


def _instance(row: "InstanceRow") -> BackupInstance:
    module = stored(row.selector) is not None
    strategy = BackupStrategy(
        identifier=row.strategy if module else row.selector,
        config=row.config,
        selector=row.selector if module else UNSET,
        tag=UNSET if row.tag is None else row.tag,
        hash=UNSET if row.revision is None or not module else row.revision,
    )
    return BackupInstance(
        id=row.id,
        strategy=strategy,
        scope={
            name: ScopeEntry(symbols=["*"] if symbols == "*" else symbols)
            for name, symbols in row.scope.items()
        },
        host="shared" if row.host == "shared" else "thread",
        dry_run=row.dry_run,
        on_stop=row.on_stop,
        was_running=row.desired is Desired.RUNNING,
    )


def _module(revision: "StoredRevision", tags: "list[TagRow]") -> BackupModule:
    try:
        source = {"source": revision.source.decode()}
    except UnicodeDecodeError:
        source = {"source_base64": base64.b64encode(revision.source).decode()}
    return BackupModule(
        name=revision.name,
        hash=revision.hash,
        version=UNSET if revision.version is None else revision.version,
        created_at=int(revision.created_at.timestamp() * 1000),
        tags=[tag.tag for tag in tags if tag.hash == revision.hash],
        metadata=revision.metadata,
        **source,
    )


def _secrets(services: "ControlServices", providers: "list[ProviderRow]") -> dict[str, dict[str, Any]]:
    """Returns the secrets of the providers in clear text. Raises HttpError if they cannot be decrypted."""
    try:
        return {row.name: services.provider_declarations.secrets(row) for row in providers if row.secrets}
    except ConfigError as error:
        text = f"backup not made: {error}; a backup without a passphrase leaves secrets out"
        raise HttpError(503, "secrets_unavailable", text) from None
