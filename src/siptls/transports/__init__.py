"""Where connections meet sockets and event loops. No rule of trust or of TLS stands here."""
