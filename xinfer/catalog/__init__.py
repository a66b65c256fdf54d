"""Which models exist: families as data, and how a launch request becomes a ModelSpec. Pure."""
