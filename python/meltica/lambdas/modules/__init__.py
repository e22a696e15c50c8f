"""Strategy modules: revisions of Python source in the database, and the check of an upload."""
