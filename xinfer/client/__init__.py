"""The SDK: sans-IO calls, Client and AsyncClient."""

from xinfer.client.clients import AsyncClient, Client
from xinfer.client.retry import Retry

__all__ = ["AsyncClient", "Client", "Retry"]
