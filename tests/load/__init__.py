"""The control plane under load: requests beside trading on a market that runs flat out.

    python -m tests.load [--seconds SECONDS] [--clients COUNT]       or       nox -s load

A gateway of its own trades with twenty lambdas while the fake venue runs as fast as it can. Orders are timed
without requests first, then while clients read every list in turn. The figures are printed, not judged: the
lambdas, the venue, PostgreSQL and the clients share the machine.
"""
