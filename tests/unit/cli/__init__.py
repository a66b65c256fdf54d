"""Commands against a server that answers from a table."""
