"""Thin xoscar shells around the pure core."""
