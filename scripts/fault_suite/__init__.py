"""Faults on real processes under real load, one row each; `scripts/faults` and `scripts/soak` are its doors."""
