"""The JSON of the REST API as data: the envelope, and one schema file per resource."""
