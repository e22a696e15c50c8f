"""A hardened HTTP server for any ASGI application: its socket, its request gate, its error responses."""
