"""The simulation at scale: seeded histories, the cost of the core, the router under load, and real processes."""
