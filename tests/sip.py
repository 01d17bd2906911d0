"""SIP messages for tests."""

from __future__ import annotations


def request(
    method: str = "OPTIONS",
    uri: str = "sip:contoso.com",
    *,
    number: int = 1,
    body: bytes = b"",
    header: str = "",
) -> bytes:
    """Give a whole request; ``number`` tells it from others."""
    head = (
        f"{method} {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS client.example;branch=z9hG4bK{number}\r\n"
        "From: <sip:alice@contoso.com>;tag=a\r\n"
        f"To: <{uri}>\r\n"
        f"Call-ID: {number}@client.example\r\n"
        f"CSeq: {number} {method}\r\n"
        f"Max-Forwards: 70\r\n{header}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
