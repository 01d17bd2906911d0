"""siptls.keylog: keys are written where somebody has asked for it, and nowhere else."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from impostors import CONTOSO
from network import client, serving

from siptls import (
    ClientConnection,
    ConfigurationError,
    Enterprise,
    KeyPurposes,
    MTLSServerTransport,
    PolicySSLContext,
    ServerConnection,
    TLSClientTransport,
    TLSServerTransport,
    sync,
)
from siptls.keylog import KeyLog, open_keylog
from siptls.testing import connected

OURS = CONTOSO.issue("sip:contoso.com")
POLICY = Enterprise(["contoso.com"], CONTOSO.authority())
ROLE = Enterprise(["contoso.com"], CONTOSO.authority(purposes=KeyPurposes.ROLE))
# The labels of the SSLKEYLOGFILE format (draft-ietf-tls-keylogfile).
LABELS = {
    "TLSv1.2": {b"CLIENT_RANDOM"},
    "TLSv1.3": {
        b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        b"SERVER_HANDSHAKE_TRAFFIC_SECRET",
        b"CLIENT_TRAFFIC_SECRET_0",
        b"SERVER_TRAFFIC_SECRET_0",
        b"EXPORTER_SECRET",
    },
}
BOTH = LABELS["TLSv1.2"] | LABELS["TLSv1.3"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What browsers and curl obey, and we do not."""
    path = tmp_path / "from-the-environment"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    return path


def labels(lines: list[bytes]) -> set[bytes]:
    for line in lines:
        label, random, secret = line.split(b" ")
        assert (len(random), len(secret) >= 64) == (64, True)
        assert bytes.fromhex(secret.decode())
        assert label in BOTH
    return {line.split(b" ")[0] for line in lines}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# ---------------------------------------------------------------- the file


def test_the_file_is_made_for_us_alone_and_appended_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    KeyLog(path)(b"one")
    KeyLog(str(path))(b"two")
    assert path.read_bytes() == b"one\ntwo\n"
    assert mode(path) == 0o600
    record = caplog.records[0]
    assert record.levelno == logging.WARNING
    assert f"written to {path}: whoever reads that file can read all" in record.message
    assert record.siptls_event == "keylog_opened"  # type: ignore[attr-defined]


def test_a_file_that_is_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keylog = KeyLog(path)
    keylog(b"one")
    path.rename(tmp_path / "keys.1")
    keylog(b"two")
    assert path.read_bytes() == b"two\n"
    assert mode(path) == 0o600


def make_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def make_readable(path: Path) -> None:
    path.touch()
    path.chmod(0o640)


def make_pipe(path: Path) -> None:
    """With a reader, so that it can be opened at all."""
    os.mkfifo(path)
    make_pipe.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_link, "it is a symbolic link"),
        (make_readable, r"others have access to it \(mode 640\)"),
        (os.mkfifo, "No such device or address"),
        (make_pipe, "it is no regular file"),
        (Path.mkdir, "Is a directory"),
    ],
    ids=["link", "readable", "pipe", "pipe-that-is-read", "folder"],
)
def test_what_would_give_the_keys_away_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    path = tmp_path / "keys"
    make(path)
    try:
        with pytest.raises(ConfigurationError, match=rf"keylog= cannot write keys to '.*': {why}"):
            KeyLog(path)
    finally:
        if make is make_pipe:
            os.close(make_pipe.reader)  # type: ignore[attr-defined]
    assert not (tmp_path / "elsewhere").exists()


def test_the_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match="it belongs to another user"):
        KeyLog(tmp_path / "keys")


def test_so_is_a_folder_that_is_not_there_and_what_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory; name a file of your"):
        KeyLog(tmp_path / "nowhere" / "keys")
    with pytest.raises(ConfigurationError, match="the path holds a null byte"):
        KeyLog("keys\0")
    for wrong in (b"keys", True, print):
        with pytest.raises(ConfigurationError, match="keylog= is a path, not"):
            open_keylog(wrong)
    assert open_keylog(None) is None


def test_what_cannot_be_written_is_told_once_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keylog = KeyLog(tmp_path / "keys")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: 0)
        keylog(b"cut")

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        keylog(b"lost")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "the key log lacks keys from now on" in caplog.text
    keylog(b"whole")
    (tmp_path / "keys").chmod(0o644)
    keylog(b"never")
    assert caplog.text.count("the key log lacks keys from now on") == 2
    assert (tmp_path / "keys").read_bytes() == b"whole\n"


# ---------------------------------------------------------------- connections


def test_a_connection_gives_its_keys_to_whom_it_is_told(
    tls_version: str, environment: Path
) -> None:
    """Both sides have the same; without keylog= nobody has any."""
    mine, its, nobody = [], [], []  # type: ignore[var-annotated]
    connected(
        ClientConnection(POLICY, "contoso.com", credential=OURS, keylog=mine.append),
        ServerConnection(OURS, POLICY, keylog=its.append),
    )
    assert labels(mine) == labels(its) == LABELS[tls_version]
    assert sorted(mine) == sorted(its)
    before = len(mine)
    for keylog in (None, nobody.append):
        one = ClientConnection(POLICY, "contoso.com", credential=OURS)
        other = ServerConnection(OURS, POLICY, keylog=keylog)
        connected(one, other)
        assert other.peer is not None
    assert len(mine) == before
    assert len(nobody) == before
    assert not environment.exists()


@pytest.mark.usefixtures("tls_version")
def test_a_function_that_fails_is_told_once_for_a_connection(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(line: bytes) -> None:
        raise RuntimeError("ours")

    server = ServerConnection(OURS, POLICY, keylog=broken, address=("192.0.2.1", 5061))
    connected(ClientConnection(POLICY, "contoso.com", credential=OURS), server)
    assert server.peer is not None
    (record,) = caplog.records
    assert record.message == "keylog= failed, and gets no more lines of this connection"
    assert record.siptls_address == "192.0.2.1"  # type: ignore[attr-defined]
    assert capfd.readouterr().err == ""


def test_a_connection_takes_no_path() -> None:
    with pytest.raises(ConfigurationError, match="keylog= is a plain function, not a str"):
        ServerConnection(OURS, POLICY, keylog="keys")  # type: ignore[arg-type]


# ---------------------------------------------------------------- transports


async def test_asyncio_transports_write_them(
    tls_version: str, tmp_path: Path, environment: Path
) -> None:
    mine, its = tmp_path / "client", tmp_path / "server"
    async with serving(keylog=its) as server, client(keylog=str(mine)) as transport:
        await transport.connect("contoso.com", **server.place)
    have_the_same(tls_version, mine, its, environment)


def have_the_same(tls_version: str, mine: Path, its: Path, environment: Path) -> None:
    found = mine.read_bytes().splitlines()
    assert labels(found) == LABELS[tls_version]
    assert sorted(found) == sorted(its.read_bytes().splitlines())
    assert not environment.exists()


def test_blocking_transports_write_them(
    tls_version: str, tmp_path: Path, environment: Path
) -> None:
    mine, its = tmp_path / "client", tmp_path / "server"
    with sync.MTLSServerTransport(OURS, POLICY, lambda c: c.wait_closed(), keylog=its) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with sync.TLSClientTransport(POLICY, credential=OURS, keylog=mine) as transport:
            transport.connect("contoso.com", host=host, port=port)
            transport.update(credential=OURS)  # which leaves the file as it is
            transport.connect("contoso.com", host=host, port=port)
    found = mine.read_bytes().splitlines()
    assert labels(found) == LABELS[tls_version]
    assert sorted(found) == sorted(its.read_bytes().splitlines())
    assert len(found) == 2 * len(LABELS[tls_version])
    assert not environment.exists()


def test_so_do_sockets_of_ones_own(tls_version: str, tmp_path: Path, environment: Path) -> None:
    mine, its = tmp_path / "client", tmp_path / "server"
    one, other = socket.socketpair()

    def serve() -> None:
        with sync.wrap_socket(other, POLICY, credential=OURS, server_side=True, keylog=its) as end:
            end.wait_closed()

    thread = threading.Thread(target=serve)
    thread.start()
    sync.wrap_socket(one, POLICY, "contoso.com", credential=OURS, keylog=mine).close()
    thread.join()
    assert labels(mine.read_bytes().splitlines()) == LABELS[tls_version]
    assert labels(its.read_bytes().splitlines()) == LABELS[tls_version]
    assert not environment.exists()


async def resumed(keylog: Path) -> None:
    async with (
        serving(resume=True) as server,
        client(resume=True, keylog=keylog) as transport,
    ):
        for _ in range(2):
            connection = await transport.connect("contoso.com", reuse=False, **server.place)
            await connection.send(
                b"OPTIONS sip:contoso.com SIP/2.0\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n"
            )
            await connection.receive()
            await connection.aclose()
        assert connection.tls is not None
        assert connection.tls.resumed


async def test_resumed_connections_are_written_too(tmp_path: Path) -> None:
    await resumed(tmp_path / "keys")
    found = (tmp_path / "keys").read_bytes().splitlines()
    assert len({line.split(b" ")[1] for line in found}) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda path: TLSClientTransport(POLICY, keylog=path),
        lambda path: MTLSServerTransport(OURS, POLICY, print, keylog=path),
        lambda path: TLSServerTransport(OURS, print, keylog=path),
        lambda path: sync.TLSClientTransport(POLICY, keylog=path),
        lambda path: sync.MTLSServerTransport(OURS, POLICY, print, keylog=path),
        lambda path: sync.TLSServerTransport(OURS, print, keylog=path),
        lambda path: PolicySSLContext.client(POLICY, keylog=path),
        lambda path: PolicySSLContext.server(OURS, ROLE, keylog=path),
    ],
)
def test_no_transport_begins_with_a_file_that_it_must_not_write(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    make_readable(path)
    with pytest.raises(ConfigurationError, match="others have access to it"):
        make(path)
    assert path.read_bytes() == b""


# ---------------------------------------------------------------- Python's ssl


def shake(server: PolicySSLContext, client: PolicySSLContext) -> None:
    """A handshake in memory."""
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(one, other, server_hostname="contoso.com"),
        server.wrap_bio(other, one, server_side=True),
    ]
    waiting = list(sides)
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_context_for_pythons_ssl_writes_them(
    version: ssl.TLSVersion, tmp_path: Path, environment: Path
) -> None:
    path = tmp_path / "keys"
    silent = PolicySSLContext.client(ROLE, credential=OURS)
    client = PolicySSLContext.client(ROLE, credential=OURS, keylog=path)
    for context in (silent, client):
        context.maximum_version = version
        shake(PolicySSLContext.server(OURS, ROLE), context)
    found = [line for line in path.read_bytes().splitlines() if not line.startswith(b"#")]
    assert labels(found) == LABELS["TLSv1.2" if version is ssl.TLSVersion.TLSv1_2 else "TLSv1.3"]
    assert client.keylog_filename == str(path)
    assert silent.keylog_filename is None
    assert mode(path) == 0o600
    assert not environment.exists()


def test_nobody_turns_it_on_behind_our_back(environment: Path) -> None:
    """As other libraries do to any context, if the environment says so."""
    context = PolicySSLContext.client(POLICY)
    context.keylog_filename = None
    with pytest.raises(ConfigurationError, match="was given keylog=, for whoever has them"):
        context.keylog_filename = str(environment)
    assert not environment.exists()


def test_a_program_that_goes_to_another_folder_takes_no_keys_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(tmp_path)
    log = KeyLog("keys")
    monkeypatch.chdir(there)
    log(b"one")
    assert (tmp_path / "keys").read_bytes() == b"one\n"
    assert list(there.iterdir()) == []


def test_the_way_to_it_is_not_made_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a link, ``..`` is above what the link leads to."""
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/inner")
    monkeypatch.chdir(tmp_path)
    KeyLog("link/../keys")(b"one")
    assert (tmp_path / "far" / "keys").read_bytes() == b"one\n"
    assert not (tmp_path / "keys").exists()
    with pytest.raises(ConfigurationError, match="directory"):
        KeyLog("far/keys/")
