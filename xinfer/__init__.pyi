"""Types of the names that ``__init__.py`` imports on first use."""

from xinfer.client import AsyncClient as AsyncClient
from xinfer.client import Client as Client

__version__: str
