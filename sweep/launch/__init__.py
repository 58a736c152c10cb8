"""Launchers start workers, here or on a cluster, and stop them; what workers do is in `sweep.worker`."""
