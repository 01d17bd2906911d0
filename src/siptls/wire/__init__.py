"""What crosses the connection: bytes in, bytes and events out; no sockets, no event loop."""
