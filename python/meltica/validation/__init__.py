"""Building blocks of configuration models: models, sections, units, paths."""
