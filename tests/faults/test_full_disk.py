"""A disk that is full: the old policy stays, and of what is logged nothing but that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from front_ends import CA, OURS, POLICY, in_loop
from server_process import server_process, visit
from sip import request

import siptls
from siptls import AnyDomain, Limits, Watch, WatchEvent, sync, watch
from siptls.testing import CertificateAuthority, pem

PARTNER_CA = CertificateAuthority("Partner CA", seed="full disk")
PARTNER = PARTNER_CA.issue("sip:fabrikam.example")
STRANGER = CertificateAuthority("Stranger CA", seed="full disk").issue("sip:contoso.com")
GOOD = """
[[partner]]
domains = ["fabrikam.example"]
authority = "partner.pem"
"""
# What a write leaves that found the disk full in its middle: half of it could be read.
OTHER = GOOD + GOOD.replace("fabrikam", "northwind")


def written(folder: Path) -> dict[str, Any]:
    (folder / "us.pem").write_bytes(pem(OURS))
    (folder / "partner.pem").write_bytes(PARTNER_CA.certificate.public_bytes(Encoding.PEM))
    (folder / "policy.toml").write_text(GOOD)
    return {"credential": folder / "us.pem", "policy": folder / "policy.toml"}


def answer(connection: sync.Connection) -> None:
    for message in connection:
        connection.send(message.reply(200, "OK"))


# ---------------------------------------------------------------- policies


class Watched:
    """A server that files keep up to date, and a partner who visits it."""

    def __init__(self, files: Watch, server: sync.MTLSServerTransport, folder: Path) -> None:
        self.files, self.server, self.folder = files, server, folder
        self.policy, self.credential = files.policy, files.credential

    def visit(self) -> None:
        host, port = self.server.addresses[0]
        believes = AnyDomain(CA.authority())
        with sync.TLSClientTransport(believes, credential=PARTNER) as transport:
            connection = transport.connect("contoso.com", host=host, port=port, timeout=20)
            connection.send(request(), timeout=20)
            assert connection.receive(timeout=20).status == 200

    def stays(self, told: tuple[WatchEvent, ...], file: str) -> None:
        """All that was told is that the file was not taken, and all is as it was."""
        assert [event.what for event in told] == ["failed"]
        assert file in str(told[0])
        assert self.files.policy is self.policy
        assert self.files.credential is self.credential
        self.visit()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    files = watch(**written(tmp_path))
    assert files.credential is not None
    assert files.policy is not None
    with sync.MTLSServerTransport(files.credential, files.policy, answer) as server:
        server.listen("127.0.0.1", 0)
        files.attach(server)
        yield Watched(files, server, tmp_path)


@pytest.mark.parametrize("name", ["us.pem", "partner.pem", "policy.toml"])
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_file_that_is_cut_off_changes_nothing_and_is_told(
    watched: Watched, name: str, part: float
) -> None:
    file = watched.folder / name
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    watched.stays(watched.files.check(settled=True), name)
    assert watched.files.check(settled=True) == ()  # once
    file.write_bytes(whole)
    assert all(event.what == "reloaded" for event in watched.files.check(settled=True))
    watched.visit()


def test_a_file_that_is_being_written_is_waited_for(watched: Watched) -> None:
    file = watched.folder / "policy.toml"
    for end in range(
        0, len(OTHER), 40
    ):  # another one at each look: nothing counts, nothing is told
        file.write_text(OTHER[:end])
        assert watched.files.check() == ()
        assert watched.files.policy is watched.policy
    watched.visit()
    file.write_text(OTHER)
    assert watched.files.check() == ()
    (event,) = watched.files.check()
    assert event.what == "reloaded"
    watched.visit()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk that holds little more than is written to it first."""
    disk = folder / "disk"
    disk.mkdir()
    size = ["-o", "size=16k"]
    done = subprocess.run(
        ["mount", "-t", "tmpfs", *size, "siptls-full", str(disk)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_on_a_disk_that_is_full_the_old_policy_stays(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        files = watch(**written(disk))
        assert files.credential is not None
        assert files.policy is not None
        with sync.MTLSServerTransport(files.credential, files.policy, answer) as server:
            server.listen("127.0.0.1", 0)
            files.attach(server)
            one = Watched(files, server, disk)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                (disk / "policy.toml").write_text(GOOD + "#" * 65536 + OTHER)
            told = files.check(settled=True)
            if told and told[0].what == "reloaded":  # what fitted in was a whole policy
                one.policy = files.policy
                told = ()
            if told:
                one.stays(told, "policy.toml")
            one.visit()
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                (disk / "us.pem").write_bytes(b"#" * 65536)
            one.stays(files.check(settled=True), "us.pem")


# ---------------------------------------------------------------- logs


class Full(logging.Handler):
    """A handler that fails, and does not catch it as those of the standard library do."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.failed += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=["raises", "/dev/full"])
def full_log(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[logging.Handler]:
    """Have all that siptls logs fail."""
    log = logging.getLogger("siptls")
    handler: logging.Handler
    if request.param == "raises":
        handler = Full()
    else:
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        handler = logging.StreamHandler(Path("/dev/full").open("w", buffering=1))  # noqa: SIM115
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(log, "propagate", False)
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)
    if isinstance(handler, Full):
        assert handler.failed
    else:
        with pytest.raises(OSError, match="No space"):
            handler.stream.close()


def be_refused(place: dict[str, Any]) -> None:
    """Be told by an alert, as ever."""
    with sync.TLSClientTransport(POLICY, credential=STRANGER) as transport:
        with pytest.raises(siptls.RefusedByPeerError):
            transport.connect("contoso.com", **place, timeout=20).receive(timeout=20)


def be_cut_off(place: dict[str, Any]) -> None:
    """Vanish in the middle of a message."""
    with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
        connection = transport.connect("contoso.com", **place, timeout=20)
        connection.send(request()[:-10], timeout=20)
        connection._sock.close()  # without a close_notify


def be_no_client(place: dict[str, Any]) -> None:
    """Speak no TLS."""
    with socket.create_connection((place["host"], place["port"])) as stranger:
        stranger.sendall(b"OPTIONS sip:contoso.com SIP/2.0\r\n\r\n")
        with contextlib.suppress(OSError):
            while stranger.recv(4096):
                pass


def see_all(place: dict[str, Any]) -> None:
    """All that a server has something to log about; and a good client after each."""
    for bad in (be_refused, be_cut_off, be_no_client):
        bad(place)
        visit(place)


@pytest.mark.parametrize("workers", [None, 1])
def test_a_server_whose_log_fails_serves(full_log: logging.Handler, workers: int | None) -> None:
    refused: list[str] = []
    limits = Limits(handshake_workers=workers, close_timeout=0.2)

    async def answer(connection: siptls.Connection) -> None:
        async for message in connection:
            await connection.send(message.reply(200, "OK"))

    async def start() -> siptls.MTLSServerTransport:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # it would be logged
        server = siptls.MTLSServerTransport(
            OURS,
            POLICY,
            answer,
            on_refused=lambda decision, _: refused.append(decision.code),
            limits=limits,
        )
        await server.listen("127.0.0.1", 0)
        return server

    with in_loop() as run:
        server = run(start())
        host, port = server.addresses[0]
        see_all({"host": host, "port": port})
        run(server.aclose())
    assert refused == ["path.unknown-ca"]


def test_a_blocking_server_whose_log_fails_serves(full_log: logging.Handler) -> None:
    refused: list[str] = []
    with sync.MTLSServerTransport(
        OURS,
        POLICY,
        answer,
        on_refused=lambda decision, _: refused.append(decision.code),
        limits=Limits(close_timeout=0.2),
    ) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        see_all({"host": host, "port": port})
    assert refused == ["path.unknown-ca"]


@pytest.mark.parametrize("kind", ["asyncio", "sync"])
def test_a_server_that_cannot_log_that_it_cannot_accept_goes_on(kind: str) -> None:
    """Both at once, as a leak of descriptors and its log bring them."""
    with server_process(kind) as server:
        with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
            before = transport.connect("contoso.com", **server.place)
            before.ping(timeout=20)
            server.say("fail logs", "failing")
            server.say("starve NOFILE +0", "starved")
            address = (server.place["host"], server.place["port"])
            with socket.create_connection(address):
                server.wait_for("a log has failed")
                used = server.cpu()
                for _ in range(5):
                    server.wait_for("a log has failed")
                assert server.cpu() - used < 0.5  # it would use nearly all of a second
                before.ping(timeout=20)
                server.say("feed NOFILE", "fed")
            visit(server.place)


def test_a_kept_connection_whose_log_fails_is_kept(full_log: logging.Handler) -> None:
    states: list[siptls.KeepState] = []
    with sync.MTLSServerTransport(OURS, POLICY, answer) as server:
        server.listen("127.0.0.1", 0)
        host, port = server.addresses[0]
        with sync.TLSClientTransport(POLICY, credential=OURS) as transport:
            kept = transport.keep(
                "contoso.com",
                host=host,
                port=port,
                backoff=siptls.Backoff(base=0.01, longest=0.02),
                on_change=lambda change: states.append(change.state),
            )
            first = kept.connected(timeout=20)
            first.ping(timeout=20)  # the server has accepted it, too
            server.update(policy=AnyDomain(PARTNER_CA.authority()))
            server.update(policy=POLICY)
            assert first.closed is not None or first.wait_closed(timeout=20) is None
            second = kept.connected(timeout=20)
            second.send(request(), timeout=20)
            assert second.receive(timeout=20).status == 200
