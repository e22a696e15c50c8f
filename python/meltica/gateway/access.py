"""The tokens of a gateway: the first one, the authentication of requests, and the files for local clients."""

import logging
import shlex
from typing import TYPE_CHECKING

from meltica.persistence.access_folder import AccessFolder
from meltica.persistence.stores.tokens import TokenStore

if TYPE_CHECKING:
    from meltica.control.authentication import Authenticator
    from meltica.persistence.database import Database
    from meltica.settings.model import Settings

log = logging.getLogger("meltica.access")


class GatewayAccess:
    """Who may use the control plane of a gateway."""

    def __init__(self, settings: "Settings", database: "Database") -> None:
        api, stored = settings.api_server, settings.database
        dsn = None if stored.dsn is None else stored.dsn.get_secret_value()
        self.required = api.auth == "token"
        self.folder = AccessFolder.of(dsn, stored.home, api.token_folder)
        self.store = TokenStore(database)
        self.authenticator: Authenticator | None = None

    async def prepare(self) -> None:
        """Creates the first token, if the database has none. Raises MelticaError."""
        if not self.required:
            log.warning("every local process has full access: apiServer.auth is none")
        elif await self.store.create_first(self.folder.save_token):
            log.info("created the first admin token in %s", self.folder.path)

    async def start(self) -> "Authenticator | None":
        """Returns what authenticates requests; None if every client is admitted. Raises DatabaseError."""
        from meltica.control.authentication import Authenticator

        if self.required:
            self.authenticator = Authenticator(self.store)
            await self.authenticator.read()
            self.authenticator.start()
        return self.authenticator

    def serve_at(self, url: str) -> None:
        """Leaves the address for local clients."""
        self.folder.save_url(url)

    def command(self, url: str) -> str:
        """Returns a command that reads from the gateway, to be pasted into a terminal."""
        header = f" -H @{shlex.quote(str(self.folder.header))}" if self.required else ""
        return f"curl{header} {url}/providers"

    async def stop(self) -> None:
        """Ends the background tasks."""
        if self.authenticator is not None:
            await self.authenticator.stop()
