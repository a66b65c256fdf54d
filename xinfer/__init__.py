"""xinfer: serve models on many GPUs and many machines."""

__version__ = "0.1.0"
