"""Metrics, logs and the story of each request."""
