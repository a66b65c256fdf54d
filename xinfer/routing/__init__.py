"""Which replica runs what: item queue, shards, pick, retry, breaker. Pure."""
