"""What happens next: events, effects, lifecycle, step, reconcile. Pure."""
