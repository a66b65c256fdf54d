"""Command line: click commands."""
