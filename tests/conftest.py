"""Fixtures for all suites: the real models that tests load."""

from __future__ import annotations

pytest_plugins = ["tests.support.models"]
