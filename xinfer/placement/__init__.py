"""Where replicas go: filters, scorers, plan_launch. Pure."""
