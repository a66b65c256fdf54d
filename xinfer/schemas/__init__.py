"""The wire: request and reply bodies, shared by the API and the client. Pure."""
