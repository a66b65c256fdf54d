"""The SDK: sans-IO calls, Client and AsyncClient."""

from xinfer.client.clients import AsyncClient, Client
from xinfer.client.retry import Retry
from xinfer.client.stream import ClusterEvent
from xinfer.client.talking import ChatPiece

__all__ = ["AsyncClient", "ChatPiece", "Client", "ClusterEvent", "Retry"]
