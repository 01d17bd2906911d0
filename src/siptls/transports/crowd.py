"""Crowd: how many connections come from one address, so that it takes many to fill a server.

Whoever has IPv6 has a whole /64 of addresses at least (RFC 6177 §2), so that its connections are
counted together. An IPv4 address that is written as IPv6 is the IPv4 address.
"""

from __future__ import annotations

import ipaddress

from siptls.wire.telling import Address

__all__ = ["Crowd"]

_PREFIX = 64


class Crowd:
    """The connections of one server, counted by where they come from. It has no lock.

    Args:
        most: So many from one place; None for any number.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._counts: dict[bytes, int] = {}

    def enter(self, address: Address | None) -> bool:
        """Count one more, or say that there are too many; a Unix socket comes from nowhere."""
        if self._most is None or address is None:
            return True
        place = _place(address)
        count = self._counts.get(place, 0)
        if count >= self._most:
            return False
        self._counts[place] = count + 1
        return True

    def leave(self, address: Address | None) -> None:
        """Count one less: one that was counted."""
        if self._most is None or address is None:
            return
        place = _place(address)
        self._counts[place] -= 1
        if not self._counts[place]:
            del self._counts[place]


def _place(address: Address) -> bytes:
    """Give the bytes that all the addresses of one place have in common."""
    host = ipaddress.ip_address(address[0])
    if isinstance(host, ipaddress.IPv6Address):
        mapped = host.ipv4_mapped
        return host.packed[: _PREFIX // 8] if mapped is None else mapped.packed
    return host.packed
