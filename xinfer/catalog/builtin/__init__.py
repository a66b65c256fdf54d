"""Built-in model families: one YAML file per family, data only."""
