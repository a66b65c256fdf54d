"""The SDK: sans-IO calls, Client and AsyncClient."""
