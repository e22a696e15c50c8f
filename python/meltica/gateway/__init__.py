"""The gateway, which alone imports every package: build, start in order, stop in reverse."""
