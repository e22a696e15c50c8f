"""Isolation of instances: an innocent one beside each hostile one in turn.

    python -m tests.isolation [--seconds SECONDS] [HOSTILE...]       or       nox -s isolation

The innocent instance receives the trades of one symbol on a thread host of its own. It must receive every
trade once and in order, whatever the hostile instance does. Its latencies are printed as a table; they are
measured, not judged, because threads of one interpreter share it.
"""
