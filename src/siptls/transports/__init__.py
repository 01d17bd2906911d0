"""Sockets and event loops: shells around the connections of ``wire``. No rule is made here."""
