"""Desired state on disk: SQLite, one owner."""
