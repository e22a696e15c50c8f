"""The control plane's web server."""

import socket
from typing import TYPE_CHECKING

from meltica.control.app import create_app
from meltica.http.server import HttpServer

if TYPE_CHECKING:
    from meltica.gateway.gateway import Gateway


class ApiServer(HttpServer):
    """The server of one gateway."""

    def __init__(self, gateway: "Gateway", bound: socket.socket) -> None:
        super().__init__(create_app(gateway), bound)
