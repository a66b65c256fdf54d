"""The comparison that scripts/bench runs."""
