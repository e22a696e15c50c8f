"""What configuration models share: models, sections, units, paths."""
