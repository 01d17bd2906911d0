"""``siptls check`` against real listeners: its last line names the fault."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding
from dns_server import saying
from impostors import CONTOSO, SELF_SIGNED, STRANGER, _days
from network import OURS, Addresses, serving, swallowing
from OpenSSL import SSL
from peers import VERSIONS, closing_last, context_of
from sip import request

from siptls import (
    Connection,
    Credential,
    Enterprise,
    KeyPurposes,
    Message,
    MTLSServerTransport,
    TLSServerTransport,
    TrustPolicy,
)
from siptls.cli import check as command
from siptls.cli.commands import commands
from siptls.cli.exits import Exit
from siptls.testing import pem

REVOKED = CONTOSO.issue("sip:contoso.com")
ROLE = Enterprise(["contoso.com"], CONTOSO.authority(purposes=KeyPurposes.ROLE))
SERVER_ONLY = CONTOSO.issue("sip:contoso.com", purposes=["serverAuth"])
EXPIRED = CONTOSO.issue("sip:contoso.com", not_after=_days(-1))
NOT_YET = CONTOSO.issue("sip:contoso.com", not_before=_days(1))
SELF = SELF_SIGNED.issue("sip:contoso.com", common_name="contoso.com", key=SELF_SIGNED.key)
SHORT = "0.5"  # seconds, where a wait is to come to its end


@frozen
class Ran:
    """What a command has printed, and its exit status."""

    status: int
    output: str
    errors: str

    @property
    def last(self) -> str:
        return self.output.splitlines()[-1]


async def check(*arguments: str) -> Ran:
    """Run the command in a thread of its own, while the listeners are served here."""
    ran = await asyncio.to_thread(CliRunner().invoke, commands, ["check", *arguments])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.stderr == ""
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


@frozen
class Lab:
    """A folder with policies and credentials, as an operator has them."""

    folder: Path

    def policy(self, **keys: str) -> list[str]:
        """Write the policy of contoso.com, and give the option for it."""
        (self.folder / "ca.pem").write_bytes(CONTOSO.pem)
        (self.folder / "ca.crl").write_bytes(CONTOSO.crl([REVOKED]))
        lines = ['domains = ["contoso.com"]', 'authority = "ca.pem"']
        lines += [f"{key} = {value}" for key, value in keys.items()]
        file = self.folder / "policy.toml"
        file.write_text("\n".join(["[enterprise]", *lines]), encoding="utf-8")
        return ["--policy", str(file)]

    def credential(self, credential: Credential) -> list[str]:
        """Write a credential, and give the option for it."""
        file = self.folder / "me.pem"
        file.write_bytes(pem(credential))
        return ["--credential", str(file)]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def at(place: dict[str, Any]) -> list[str]:
    return ["--connect", f"{place['host']}:{place['port']}"]


# ---------------------------------------------------------------- whom we refuse


@pytest.mark.parametrize(
    ("shown", "keys", "code", "told"),
    [
        (CONTOSO.issue("sip:eu.contoso.com"), {}, "name.mismatch", "expected contoso.com"),
        (EXPIRED, {}, "path.expired", "renew the certificate"),
        (STRANGER.issue("sip:contoso.com"), {}, "path.unknown-ca", "Stranger CA"),
        (SELF, {}, "path.unknown-ca", "the certificate is self-signed"),
        (
            SERVER_ONLY,
            {"purposes": '"RFC5924"'},
            "purpose.unacceptable",
            "has EKU serverAuth only",
        ),
        (REVOKED, {"crls": '["ca.crl"]'}, "path.revoked", "the CA has taken this certificate back"),
    ],
    ids=["wrong-name", "expired", "unknown-CA", "self-signed", "serverAuth-only", "revoked"],
)
async def test_whom_we_refuse_is_told_with_the_reason_and_what_to_do(  # noqa: PLR0917
    shown: Credential, keys: dict[str, str], code: str, told: str, lab: Lab, tls_version: str
) -> None:
    async with serving(credential=shown) as server:
        ran = await check(
            "sip:contoso.com", *lab.policy(**keys), *lab.credential(OURS), *at(server.place)
        )
    assert ran.status == Exit.REFUSED
    assert ran.last.startswith(f"refused: {code}: ")
    assert told in ran.last


# ---------------------------------------------------------------- who refuses us


@pytest.mark.parametrize(
    ("ours", "policy", "code", "told"),
    [
        (None, None, "certificate-missing", "pass one with --credential"),
        (STRANGER.issue("sip:contoso.com"), None, "unknown-ca", "does not trust the CA"),
        (SERVER_ONLY, ROLE, "purpose", "is for serverAuth only, and not for clientAuth"),
        (EXPIRED, None, "expired", "has expired on"),
        (NOT_YET, None, "not-yet-valid", "is not valid before"),
        (SELF, None, "self-signed", "is self-signed"),
        (CONTOSO.issue("sip:blocked.example"), None, "certificate", "names in our certificate"),
    ],
    ids=["missing", "unknown-CA", "serverAuth-only", "expired", "early", "self-signed", "name"],
)
async def test_who_refuses_us_is_told_with_what_it_most_likely_dislikes(  # noqa: PLR0917
    ours: Credential | None,
    policy: TrustPolicy | None,
    code: str,
    told: str,
    lab: Lab,
    tls_version: str,
) -> None:
    options: dict[str, Any] = {} if policy is None else {"policy": policy}
    async with serving(**options) as server:
        shown = [] if ours is None else lab.credential(ours)
        ran = await check("sip:contoso.com", *lab.policy(), *shown, *at(server.place))
    assert ran.status == Exit.REFUSED
    assert ran.last.startswith(f"refused: by-peer.{code}: ")
    assert told in ran.last


@contextmanager
def openssl(
    version: str, *, demands: bool = True, does: str = "answer"
) -> Iterator[dict[str, Any]]:
    """Serve one client with OpenSSL itself, which judges by its own rules.

    Args:
        version: The only version of TLS.
        demands: Whether it wants a certificate of Contoso's CA.
        does: What it does after the handshake: ``answer``, ``close`` at once, or speak ``http``.
    """
    context = context_of(version, OURS)
    if demands:
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(_as_openssl(CONTOSO.certificate))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            tcp, _ = listener.accept()
            with tcp, closing_last(tcp), suppress(SSL.Error):
                connection = SSL.Connection(context, tcp)
                connection.set_accept_state()
                connection.do_handshake()
                if does == "close":
                    return
                asked = Message(connection.recv(65536))
                http = b"HTTP/1.1 400 Bad Request\r\n\r\n"
                connection.sendall(http if does == "http" else asked.reply(200, "OK").data)
                connection.recv(65536)

    with listening(serve) as place:
        yield place


def _as_openssl(certificate: Any) -> Any:
    from OpenSSL import crypto  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return crypto.X509.from_cryptography(certificate)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[dict[str, Any]]:
    """Run a blocking server in a thread, which is over at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        try:
            yield {"host": "127.0.0.1", "port": listener.getsockname()[1]}
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("ours", "code", "told"),
    [
        (None, "certificate-missing", "pass one with --credential"),
        (SERVER_ONLY, "purpose", "is for serverAuth only, and not for clientAuth"),
        (EXPIRED, "expired", "has expired on"),
        (STRANGER.issue("sip:contoso.com"), "unknown-ca", "does not trust the CA"),
        (SELF, "self-signed", "is self-signed"),
    ],
    ids=["missing", "serverAuth-only", "expired", "unknown-CA", "self-signed"],
)
async def test_openssl_refuses_us_for_the_reason_that_is_told(
    ours: Credential | None, code: str, told: str, version: str, lab: Lab
) -> None:
    shown = [] if ours is None else lab.credential(ours)
    with openssl(version) as place:
        ran = await check("sip:contoso.com", *lab.policy(), *shown, *at(place))
    assert ran.last.startswith(f"refused: by-peer.{code}: ")
    assert told in ran.last
    assert ran.status == Exit.REFUSED


async def test_who_closes_without_a_word_has_not_accepted_us_in_tls_1_3(lab: Lab) -> None:
    with openssl("TLSv1.3", demands=False, does="close") as place:
        ran = await check("sip:contoso.com", *lab.policy(), *at(place))
    assert ran.status == Exit.REFUSED
    assert ran.last.startswith("refused: by-peer.closed: ")


async def test_who_closes_without_a_word_has_accepted_us_in_tls_1_2(lab: Lab) -> None:
    with openssl("TLSv1.2", demands=False, does="close") as place:
        ran = await check("sip:contoso.com", *lab.policy(), *at(place))
    assert ran.status == Exit.TRUSTED
    assert "it closed the connection without an answer to OPTIONS" in ran.last


# ---------------------------------------------------------------- who is not reached


@contextmanager
def saying_in_clear(words: bytes, *, closes: bool) -> Iterator[dict[str, Any]]:
    """Listen without TLS, read what comes, and say something, or nothing."""

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            tcp, _ = listener.accept()
            with tcp:
                tcp.recv(65536)
                tcp.sendall(words)
                if not closes:
                    while tcp.recv(65536):
                        pass

    with listening(serve) as place:
        yield place


@pytest.mark.parametrize(
    ("words", "closes", "code", "told"),
    [
        (b"SIP/2.0 400 Bad Request\r\n\r\n", False, "not-tls", "it says 'SIP/2.0 400 Bad Request'"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "not-tls", "it says 'HTTP/1.1 400 Bad Reque"),
        (b"\x1b[31mred\x1b]0;title\x07\r\n", True, "not-tls", r"it says '\u001b[31mred"),
        (b"", True, "closed", "is it a port for plain TCP"),
        (b"", False, "timeout", "is it a port for plain TCP"),
    ],
    ids=["SIP", "HTTP", "escapes", "closes", "silent"],
)
async def test_a_port_without_tls_is_told(
    words: bytes, closes: bool, code: str, told: str, lab: Lab
) -> None:
    with saying_in_clear(words, closes=closes) as place:
        ran = await check("sip:contoso.com", *lab.policy(), *at(place), "--timeout", SHORT)
    assert ran.status == Exit.NETWORK
    assert ran.last.startswith(f"network: {code}: ")
    assert told in ran.last
    assert "\x1b" not in ran.output


async def test_a_port_at_which_nobody_listens_is_told(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    ran = await check("sip:contoso.com", *lab.policy(), "--connect", f"127.0.0.1:{port}")
    assert ran.status == Exit.NETWORK
    assert ran.last.startswith(f"network: unreachable: cannot connect to 127.0.0.1 port {port}")
    assert "Connection refused" in ran.last


async def test_an_address_that_does_not_answer_is_told(lab: Lab) -> None:
    with swallowing("127.0.0.1") as port:
        place = {"host": "127.0.0.1", "port": port}
        ran = await check("sip:contoso.com", *lab.policy(), *at(place), "--timeout", SHORT)
    assert ran.status == Exit.NETWORK
    assert ran.last.startswith("network: timeout: 127.0.0.1 port")
    assert f"did not answer within {SHORT} s" in ran.last


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({}, "DNS has no address (AAAA, A) for contoso.com"),
        ({"_sips._tcp.contoso.com SRV": "SERVFAIL"}, "no answer from DNS for SRV"),
        ({"_sips._tcp.contoso.com SRV": ["0 0 0 ."]}, "this service is not available"),
    ],
    ids=["NXDOMAIN", "SERVFAIL", "no-such-service"],
)
async def test_what_dns_does_not_know_is_told(
    answers: dict[str, Any], told: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with saying(answers) as (_, resolver):
        monkeypatch.setattr(command, "resolver_for", lambda _: (resolver, "by the test's DNS"))
        ran = await check("sip:contoso.com", *lab.policy())
    assert ran.status == Exit.NETWORK
    assert ran.last.startswith("network: dns: ")
    assert told in ran.last
    assert "by the test's DNS" in ran.output


async def test_a_dns_server_that_says_nothing_is_waited_for_no_longer_than_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent: dict[str, Any] = {"_sips._tcp.contoso.com SRV": None, "contoso.com NAPTR": None}
    async with saying(silent, timeout=60.0) as (_, resolver):
        monkeypatch.setattr(command, "resolver_for", lambda _: (resolver, "by the test's DNS"))
        ran = await check("sip:contoso.com", *lab.policy(), "--timeout", "0.1")
    assert ran.status == Exit.NETWORK
    assert ran.last.startswith("network: dns: no answer for contoso.com within 0.4 s")


# ---------------------------------------------------------------- who is trusted


async def test_who_is_trusted_and_answers_is_told_with_all_steps(
    lab: Lab, tls_version: str
) -> None:
    async with serving() as server:
        ran = await check(
            "sip:contoso.com", *lab.policy(), *lab.credential(OURS), *at(server.place)
        )
    assert ran.status == Exit.TRUSTED
    assert ran.last.startswith(
        "trusted: contoso.com is believed by the word of Contoso Enterprise CA (enterprise), "
    )
    assert ran.last.endswith("; it answers OPTIONS with 200")
    for step in ("resolve", "connect", "handshake", "options"):
        assert f"\n  {step} " in ran.output
    assert tls_version in ran.output
    assert "sip:contoso.com: counts as domain contoso.com: a sip: URI" in ran.output


async def test_a_server_that_asks_for_no_certificate_is_trusted_as_well(
    lab: Lab, tls_version: str
) -> None:
    async def answer(connection: Connection) -> None:
        async for message in connection:
            await connection.send(message.reply(404, "Not Found"))

    async with TLSServerTransport(OURS, answer) as server:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        ran = await check("sip:contoso.com", *lab.policy(), "--connect", f"{host}:{port}")
    assert ran.status == Exit.TRUSTED
    assert ran.last.endswith("; it answers OPTIONS with 404")


async def test_the_request_is_a_valid_one_in_our_name(lab: Lab) -> None:
    seen: list[Message] = []

    async def answer(connection: Connection) -> None:
        async for message in connection:
            seen.append(message)
            await connection.send(message.reply(100, "Trying"))
            await connection.send(Message(request()).reply(603, "Decline"))  # of another request
            await connection.send(message.reply(200, "OK"))

    async with serving(answer) as server:
        ran = await check(
            "sip:alice@contoso.com", *lab.policy(), *lab.credential(OURS), *at(server.place)
        )
    assert ran.last.endswith("; it answers OPTIONS with 200")
    [message] = seen
    assert message.start_line == "OPTIONS sip:contoso.com SIP/2.0"
    assert (message.header("From") or "").startswith("<sip:contoso.com>;tag=")
    assert (message.header("Via") or "").startswith("SIP/2.0/TLS 127.0.0.1:")
    assert message.header("Max-Forwards") == "70"


async def test_who_does_not_answer_is_trusted_and_may_not_have_accepted_us(
    lab: Lab, tls_version: str
) -> None:
    async def say_nothing(connection: Connection) -> None:
        await connection.wait_closed()

    async with serving(say_nothing) as server:
        ran = await check(
            "sip:contoso.com",
            *lab.policy(),
            *lab.credential(OURS),
            *at(server.place),
            "--timeout",
            SHORT,
        )
    assert ran.status == Exit.TRUSTED
    assert f"no answer to OPTIONS within {SHORT} s" in ran.last
    assert f" ms  no answer within {SHORT} s\n" in ran.output
    assert ("nothing but an answer proves" in ran.last) is (tls_version == "TLSv1.3")


async def test_without_options_a_refusal_of_tls_1_3_is_waited_for(
    lab: Lab, tls_version: str
) -> None:
    async with serving() as server:
        refused = await check("sip:contoso.com", *lab.policy(), *at(server.place), "--no-options")
        trusted = await check(
            "sip:contoso.com",
            *lab.policy(),
            *lab.credential(OURS),
            *at(server.place),
            "--no-options",
            "--timeout",
            SHORT,
        )
    assert refused.last.startswith("refused: by-peer.certificate-missing: ")
    assert trusted.status == Exit.TRUSTED
    assert "; OPTIONS was not sent" in trusted.last


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_no_sip_over_tls_is_told(version: str, lab: Lab) -> None:
    with openssl(version, demands=False, does="http") as place:
        ran = await check("sip:contoso.com", *lab.policy(), *at(place))
    assert ran.status == Exit.NETWORK
    assert ran.last.startswith("network: not-sip: ")


async def test_every_address_is_tried_until_one_is_trusted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as server:
        place = server.place
        # 127.0.0.2 is this machine, too, and nobody listens there.
        resolver = Addresses(place["port"], "127.0.0.2", "127.0.0.1", "127.0.0.3")
        monkeypatch.setattr(command, "resolver_for", lambda _: (resolver, "by the test"))
        ran = await check("sip:contoso.com", *lab.policy(), *lab.credential(OURS))
    assert ran.status == Exit.TRUSTED
    assert f"127.0.0.2 port {place['port']} (h.example)\n" in ran.output
    assert "cannot connect to 127.0.0.2" in ran.output
    assert "127.0.0.3" not in ran.output


async def test_of_several_addresses_that_fail_the_most_telling_is_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(credential=STRANGER.issue("sip:contoso.com")) as server:
        resolver = Addresses(server.place["port"], "127.0.0.2", "127.0.0.1", "127.0.0.3")
        monkeypatch.setattr(command, "resolver_for", lambda _: (resolver, "by the test"))
        refused = await check("sip:contoso.com", *lab.policy())
    assert refused.last.startswith("refused: path.unknown-ca: ")
    assert "cannot connect to 127.0.0.3" in refused.output
    gone = await check("sip:contoso.com", *lab.policy())
    assert gone.last.startswith("network: unreachable: ")
    assert gone.last.endswith("; 2 other addresses failed, too")


async def test_without_a_policy_the_public_cas_are_believed_and_that_is_said(lab: Lab) -> None:
    async with serving() as server:
        ran = await check("sip:contoso.com", *at(server.place))
    assert ran.last.startswith("refused: path.unknown-ca: ")
    assert "expected a path to an anchor of public CAs" in ran.last
    assert "no --policy, so that the public CAs are believed" in ran.output


async def test_what_a_peer_presents_reaches_no_terminal_as_it_is(lab: Lab) -> None:
    """Markup of rich, escapes of terminals, and line ends of a stranger's are text like any."""
    evil = CONTOSO.issue(
        "sip:contoso.com", common_name="[red]x[/red]\x1b[2J\x1b]0;t\x07\r\ntrusted: y"
    )

    async def answer(connection: Connection) -> None:
        async for message in connection:
            await connection.send(message.reply(200, "\x1b[2J [bold]OK"))

    policy = Enterprise(["contoso.com"], CONTOSO.authority())
    async with MTLSServerTransport(evil, policy, answer) as server:
        await server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        arguments = [*lab.policy(), *lab.credential(OURS), "--connect", f"{host}:{port}"]
        ran = await check("sip:contoso.com", *arguments)
        plain = await check("sip:contoso.com", *arguments, "--json")
    assert "[red]x[/red]" in ran.output
    assert "[bold]OK" in ran.output
    assert not set(ran.output) & {"\x1b", "\x07", "\r"}
    assert "\ntrusted: y" not in ran.output
    assert plain.output.isascii()
    assert not set(plain.output) & {"\x1b", "\x07", "\r"}


async def test_json_is_all_that_is_printed(lab: Lab) -> None:
    async with serving() as server:
        ran = await check(
            "sip:contoso.com", *lab.policy(), *lab.credential(OURS), *at(server.place), "--json"
        )
        wrong = await check("sip:fabrikam.com", *lab.policy(), *at(server.place), "--json")
    found, refused = json.loads(ran.output), json.loads(wrong.output)
    assert (found["verdict"], found["exit"], found["code"]) == ("trusted", 0, "accepted")
    [visit] = found["visits"]
    assert [step["name"] for step in visit["steps"]] == ["connect", "handshake", "options"]
    assert visit["reply"] == "SIP/2.0 200 OK"
    assert visit["judged"]["decision"]["accepted"] is True
    assert (refused["verdict"], refused["exit"]) == ("refused", 1)
    assert refused["code"] == "name.mismatch"


def test_the_chain_is_told_without_line_breaks_of_a_narrow_terminal(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    file = lab.folder / "cert.pem"
    file.write_bytes(OURS.chain[0].public_bytes(Encoding.PEM))
    arguments = ["explain", str(file), *lab.policy(), "--as", "server"]
    ran = CliRunner().invoke(commands, arguments)
    assert "    issued by CN=Contoso Enterprise CA\n" in ran.output
