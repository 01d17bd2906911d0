"""siptls.cli.inquiry: the OPTIONS request, and what answers it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sip import request

import siptls
from siptls import Limits, Message, MessageFramer, ReferenceIdentity
from siptls.cli.inquiry import answers, inquiry, sender
from siptls.testing import CertificateAuthority
from siptls.trust.presented import PresentedNames

CONTOSO = CertificateAuthority("Contoso CA", seed="inquiry")
EXPECTED = ReferenceIdentity.parse("sip:alice@fabrikam.com")


def ask(address: str = "192.0.2.1") -> Message:
    numbers = itertools.count(1)
    credential = CONTOSO.issue("sip:contoso.com")
    return inquiry(EXPECTED, credential, (address, 40000), lambda: f"token{next(numbers)}")


def test_it_is_a_whole_request_outside_of_a_dialog() -> None:
    assert ask().data.decode() == (
        "OPTIONS sip:fabrikam.com SIP/2.0\r\n"
        "Via: SIP/2.0/TLS 192.0.2.1:40000;branch=z9hG4bKtoken1\r\n"
        "From: <sip:contoso.com>;tag=token2\r\n"
        "To: <sip:fabrikam.com>\r\n"
        "Call-ID: token3\r\n"
        "CSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 70\r\n"
        "Accept: application/sdp\r\n"
        f"User-Agent: siptls/{siptls.__version__}\r\n"
        "Content-Length: 0\r\n"
        "\r\n"
    )


def test_our_own_framer_takes_it_as_one_message() -> None:
    assert MessageFramer(Limits()).feed(ask().data) == [ask()]


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert "SIP/2.0/TLS [2001:db8::1]:40000;" in (ask("2001:db8::1").header("Via") or "")


def test_each_request_is_another_one() -> None:
    first, second = (inquiry(EXPECTED, None, ("192.0.2.1", 1)) for _ in range(2))
    for name in ("Via", "From", "Call-ID"):
        assert first.header(name) != second.header(name)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["sip.contoso.com", "sip:contoso.com"], "<sip:contoso.com>"),
        (["192.0.2.1", "*.contoso.com", "sip.contoso.com"], "<sip:sip.contoso.com>"),
        (["sip:alice@contoso.com"], '"Anonymous" <sip:thisis@anonymous.invalid>'),
    ],
)
def test_the_sender_is_the_first_name_that_we_present(names: list[str], told: str) -> None:
    assert sender(CONTOSO.issue(*names)) == told


def test_without_a_credential_the_sender_is_nobody() -> None:
    assert sender(None) == '"Anonymous" <sip:thisis@anonymous.invalid>'


def test_a_response_answers_the_request_whose_call_it_names() -> None:
    asked = ask()
    assert answers(asked.reply(200, "OK"), asked)
    assert not answers(asked, asked)
    assert not answers(Message(request()).reply(200, "OK"), asked)
    other = Message(asked.data.replace(b"1 OPTIONS", b"2 OPTIONS"))
    assert not answers(other.reply(200, "OK"), asked)


class Broken:
    """A credential whose names cannot be decoded."""

    @property
    def names(self) -> PresentedNames:
        raise ValueError("names that cannot be decoded")


def test_who_presents_names_that_cannot_be_decoded_is_nobody() -> None:
    credential: Any = Broken()
    assert sender(credential) == sender(None)
