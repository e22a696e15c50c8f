"""What speaks to venues: adapters, and the codecs that say where the fields of their messages are."""
