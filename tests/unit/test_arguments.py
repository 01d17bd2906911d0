"""Arguments of the wrong type get one sentence, when something is built, not when it is used."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from siptls import (
    AnyDomain,
    Authority,
    ClientConnection,
    ConfigurationError,
    Connection,
    Credential,
    Enterprise,
    Federation,
    Limits,
    Message,
    MTLSServerTransport,
    Partner,
    ServerConnection,
    TLSClientTransport,
    TLSServerTransport,
)
from siptls.arguments import Kind, check_callback, check_handler, kind_of
from siptls.testing import CertificateAuthority

CA = CertificateAuthority("Contoso CA", seed="arguments")
AUTHORITY = CA.authority()
POLICY = Enterprise(["contoso.com"], AUTHORITY)
OURS = CA.issue("sip:contoso.com")
ANY: Any = None


async def handler(connection: Connection) -> None:
    """A handler that does nothing."""


def plain(*arguments: object) -> None:
    """A callback that does nothing."""


class Callback:
    """An object that is called, with or without being awaited."""

    def __call__(self, *arguments: object) -> None: ...


class AsyncCallback:
    """An object whose call must be awaited."""

    async def __call__(self, *arguments: object) -> None: ...


WRONG: list[tuple[Callable[[], object], str]] = [
    (
        lambda: Enterprise(["a.com"], "ca.pem"),
        "Enterprise.authority is an Authority, not a str: Auth",
    ),
    (lambda: Enterprise(["a.com"], CA), "not a CertificateAuthority"),
    (
        lambda: Enterprise(["a.com"], AUTHORITY, names="OCS"),
        "Enterprise.names is a NameRules, not a",
    ),
    (lambda: Enterprise(None, AUTHORITY), "domains are a list of names, not None"),
    (lambda: Enterprise(AUTHORITY, ["a.com"]), "domains are a list of names, not an Authority"),
    (lambda: Partner(["a.com"], None), "Partner.authority is an Authority, not None"),
    (lambda: AnyDomain(None), "AnyDomain.authority is an Authority, not None"),
    (
        lambda: Authority("CA", [CA.certificate], purposes="SIP"),
        "Authority.purposes is a KeyPurposes",
    ),
    (lambda: Federation(Partner(["a.com"], AUTHORITY)), "partners are a list: write Federation"),
    (lambda: Federation([POLICY]), "an Enterprise is no Partner"),
    (
        lambda: TLSClientTransport(POLICY, credential="me.pem"),
        "credential is a Credential, not a str",
    ),
    (lambda: TLSClientTransport(POLICY, limits={}), "limits is a Limits, not a dict"),
    (
        lambda: TLSClientTransport(POLICY, on_refused=handler),
        "on_refused= is a plain function, and",
    ),
    (lambda: TLSClientTransport([POLICY]), "a TrustPolicy is needed to judge the peer, not a list"),
    (lambda: TLSClientTransport(POLICY, resolver="dns"), "a str is no Resolver"),
    (lambda: ClientConnection(POLICY, "a.com", limits=5), "limits is a Limits, not an int"),
    (
        lambda: ClientConnection(POLICY, "a.com", credential=1),
        "credential is a Credential, not an int",
    ),
    (lambda: ServerConnection("me.pem", POLICY), "credential is a Credential, not a str"),
    (lambda: MTLSServerTransport(OURS, POLICY, 5), "a handler is a coroutine function"),
    (
        lambda: MTLSServerTransport(OURS, POLICY, on_message=handler),
        "on_message= is a plain function",
    ),
    (lambda: MTLSServerTransport(OURS, POLICY, handler, on_refused="x"), "on_refused= is a plain"),
    (
        lambda: MTLSServerTransport("me.pem", POLICY, handler),
        "credential is a Credential, not a str",
    ),
    (lambda: TLSServerTransport(OURS, on_message=AsyncCallback()), "nobody would await it"),
    (
        lambda: Limits(handshake_timeout="5"),
        "Limits.handshake_timeout is a positive number of s",
    ),
    (
        lambda: Limits(max_head=None),
        "Limits.max_head is a positive whole number",
    ),
    (lambda: Limits(max_head=True), "not True"),
    (lambda: Limits(message_timeout=0), "not 0"),
    (lambda: Message("OPTIONS"), r"made of bytes, not of a str: encode\(\) it"),
]


@pytest.mark.parametrize(("build", "text"), WRONG)
def test_an_argument_of_the_wrong_type_is_told_when_something_is_built(
    build: Callable[[], object], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        build()


async def test_good_callbacks_are_taken() -> None:
    for good in (plain, Callback(), functools.partial(plain, 1), lambda *_: None, None):
        check_callback("on_refused", good)
    for good_handler in (handler, lambda *_: handler(ANY), functools.partial(handler), None):
        check_handler(good_handler)


@pytest.mark.parametrize("bad", [handler, AsyncCallback(), functools.partial(handler, ANY)])
def test_a_coroutine_function_is_no_callback(bad: object) -> None:
    with pytest.raises(ConfigurationError, match="nobody would await it"):
        check_callback("on_refused", bad)


def test_a_kind_may_be_optional() -> None:
    kind = Kind(Credential, "read one", optional=True)
    kind.check("credential", None)
    kind.check("credential", OURS)
    with pytest.raises(
        ConfigurationError, match=r"^credential is a Credential, not an int: read one$"
    ):
        kind.check("credential", 1)


def test_a_value_is_named_by_its_type_and_never_shown() -> None:
    assert kind_of(None) == "None"
    assert kind_of("secret") == "a str"
