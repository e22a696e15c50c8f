"""One controller per resource. Litestar injects what a handler names: the services, catalogues and views."""
