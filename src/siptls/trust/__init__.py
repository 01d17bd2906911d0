"""Whom do we believe? Pure rules: no sockets, no clock, no I/O while a peer is judged."""
