"""One suite over all front ends, as client and as server: none of them drifts from the others.

The other side is OpenSSL itself on a blocking socket (`peers.py`), which does what a case wants.
"""

from __future__ import annotations

import queue

import pytest
from front_ends import CA, FRONT_ENDS, OURS, FrontEnd, Served
from peers import VERSIONS, server, visit

from siptls import Credential
from siptls.testing import CertificateAuthority

STRANGER = CertificateAuthority("Stranger CA", seed="front ends")


@pytest.fixture(params=FRONT_ENDS, ids=lambda front: front.name)
def front(request: pytest.FixtureRequest) -> FrontEnd:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---------------------------------------------------------------- as a client


@pytest.mark.parametrize(
    ("shown", "expected", "does", "result"),
    [
        (OURS, "contoso.com", "answer", "SIP/2.0 200 OK"),
        (STRANGER.issue("sip:contoso.com"), "contoso.com", "answer", "we refused: path.unknown-ca"),
        (OURS, "eu.contoso.com", "answer", "we refused: name.mismatch"),
        (OURS, "contoso.com", "vanish", "cut off"),
        (OURS, "contoso.com", "garbage", "no SIP"),
    ],
    ids=["accepted", "refused", "wrong-name", "vanishes", "garbage"],
)
def test_a_client(  # noqa: PLR0917  a cell of the table
    front: FrontEnd, version: str, shown: Credential, expected: str, does: str, result: str
) -> None:
    with server(version, shown, does) as port:
        assert front.client(expected, port, OURS) == result


def test_a_client_without_a_certificate_is_refused(front: FrontEnd, version: str) -> None:
    """Python's ssl shows it as an end of the connection, and tells no number of an alert."""
    with server(version, OURS, "answer", asks=True) as port:
        result = front.client("contoso.com", port, None)
    assert result == ("it refused us" if front.tells else "closed in order")


# ---------------------------------------------------------------- as a server


def seen(
    front: FrontEnd, version: str, credential: Credential | None, does: str
) -> tuple[str, Served]:
    served = Served(queue.Queue(), queue.Queue())
    with front.server(served) as port:
        answer = visit(version, port, credential, does)
        # A good client is served besides, and after it the first has been dealt with.
        assert visit(version, port, OURS, "answer") == "SIP/2.0 200 OK"
    return answer, served


def everything(waiting: queue.Queue[str]) -> list[str]:
    return sorted(waiting.get_nowait() for _ in range(waiting.qsize()))


@pytest.mark.parametrize(
    ("does", "answer", "end"),
    [
        ("answer", "SIP/2.0 200 OK", "closed in order"),
        ("vanish", "gone", "cut off"),
        ("garbage", "refused", "no SIP"),
    ],
)
def test_a_server_and_a_client_that_it_accepts(
    front: FrontEnd, version: str, does: str, answer: str, end: str
) -> None:
    got, served = seen(front, version, OURS, does)
    assert got == answer
    assert everything(served.ends) == sorted([end, "closed in order"])
    assert everything(served.refusals) == []


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        (STRANGER.issue("sip:contoso.com"), "path.unknown-ca"),
        (CA.issue("sip:fabrikam.com"), "name.out-of-scope"),
        (None, "certificate.missing"),
    ],
    ids=["refused", "wrong-name", "no-certificate"],
)
def test_a_server_and_a_client_that_it_refuses(
    front: FrontEnd, version: str, shown: Credential | None, code: str
) -> None:
    """The application never sees it: only the good client's connection has an end."""
    got, served = seen(front, version, shown, "answer")
    assert got == "refused"
    assert everything(served.refusals) == [code]
    assert everything(served.ends) == ["closed in order"]
