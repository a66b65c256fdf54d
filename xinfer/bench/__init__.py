"""Measuring: a load on any server, what came of it, and the bare models to compare with."""
