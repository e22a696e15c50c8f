"""The simulated exchange as people meet it: its settings, its counters, and the process that serves it."""
