"""`ModuleDirectory`: stores the strategies in a folder as modules.

Files of the folder itself that contain `Lambda` are read, except those whose names start with `_` or `.`.
Each is checked like an upload. A file that changes needs another `version`. A file that is deleted keeps its
revisions.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from meltica.errors import MelticaError, one_line
from meltica.lambdas.modules.catalogue import Upload
from meltica.persistence.stores.audit import Act, acting_as
from meltica.runtime.threads import call

if TYPE_CHECKING:
    from meltica.lambdas.modules.catalogue import ModuleCatalogue

MAX_SOURCE = 1 << 20
"""Limit, in bytes, of a source; that of the table."""

log = logging.getLogger("meltica.lambdas")


class ModuleDirectory:
    """The folder of strategies of a gateway."""

    def __init__(self, folder: Path, modules: "ModuleCatalogue") -> None:
        self._folder = folder
        self._modules = modules

    async def read(self) -> dict[str, str]:
        """Stores the new contents; returns why a file was not stored, by its name. Raises DatabaseError."""
        sources, faults = await call(self._sources, "meltica-strategies")
        hashes = {row.hash for module in await self._modules.modules() for row in module.revisions}
        with acting_as(Act("strategies.directory")):
            for name, source in sources.items():
                if f"sha256:{hashlib.sha256(source).hexdigest()}" in hashes:
                    continue
                try:
                    module, row, _ = await self._modules.upload(Upload(source))
                except (MelticaError, ValueError) as error:
                    faults[name] = str(error) if isinstance(error, ValueError) else one_line(error)
                else:
                    log.info("strategy %s stored as %s@%s", self._folder / name, module.name, row.hash)
        for name, text in faults.items():
            log.warning("strategies.directory %s: %s not stored: %s", self._folder, name, text)
        return faults

    def _sources(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """Returns the sources and the faults, by the names of their files. Blocks."""
        sources: dict[str, bytes] = {}
        faults: dict[str, str] = {}
        try:
            names = sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file())
        except OSError as error:
            return {}, {self._folder.name: f"the folder cannot be read: {error.strerror}"}
        for path in [self._folder / name for name in names if name[0] not in "_." and name.endswith(".py")]:
            try:
                with path.open("rb") as file:
                    source = file.read(MAX_SOURCE + 1)
            except OSError as error:
                faults[path.name] = f"the file cannot be read: {error.strerror}"
                continue
            if len(source) > MAX_SOURCE:
                faults[path.name] = f"expected at most {MAX_SOURCE:,} bytes"
            elif b"Lambda" in source:
                sources[path.name] = source
        return sources, faults
