"""The nouns of a cluster: devices, slots, workers, deployments, replicas, routes. Pure values."""
