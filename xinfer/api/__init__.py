"""The REST API: FastAPI application and the actor that runs it."""
