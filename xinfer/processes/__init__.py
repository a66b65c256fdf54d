"""Processes: spawn, parent death, restarts, cluster token."""
