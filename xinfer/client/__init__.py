"""The SDK: sans-IO calls, Client and AsyncClient."""

from xinfer.client.clients import AsyncClient, Client
from xinfer.client.retry import Retry
from xinfer.client.stream import ClusterEvent

__all__ = ["AsyncClient", "Client", "ClusterEvent", "Retry"]
