"""siptls.sync: the transports on blocking sockets and threads.

The names are those of the asyncio transports, without ``await``. `Connection.send`, ``receive`` and
``ping`` take ``timeout=`` in seconds; connecting, handshakes and closing are bounded by `Limits`.
"""

from siptls.transports.blocking.client import TLSClientTransport, wrap_socket
from siptls.transports.blocking.connection import Connection
from siptls.transports.blocking.keeping import Kept
from siptls.transports.blocking.server import MTLSServerTransport, TLSServerTransport

__all__ = [
    "Connection",
    "Kept",
    "MTLSServerTransport",
    "TLSClientTransport",
    "TLSServerTransport",
    "wrap_socket",
]
