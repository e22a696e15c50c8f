"""The control plane's web server."""

import socket
from typing import TYPE_CHECKING

from meltica.control.app import create_app
from meltica.control.web import WebServer

if TYPE_CHECKING:
    from meltica.gateway import Gateway


class ApiServer(WebServer):
    """The server of one gateway."""

    def __init__(self, gateway: "Gateway", bound: socket.socket) -> None:
        super().__init__(create_app(gateway), bound)
