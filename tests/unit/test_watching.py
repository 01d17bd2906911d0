"""Watch: files that are renewed, broken and mended while everything runs. No test sleeps."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define

from siptls import (
    BelievedName,
    Blocked,
    CertificateError,
    ConfigurationError,
    Credential,
    Peer,
    TrustPolicy,
    Watch,
    WatchEvent,
    load_policy,
    watch,
)
from siptls.testing import CertificateAuthority, pem
from siptls.trust.endings import EndingKind, EndingNotice
from siptls.watching import _watchfiles

CONTOSO = CertificateAuthority("Contoso CA", seed="watch")
FABRIKAM = CertificateAuthority("Fabrikam CA", seed="watch")
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
OLD = CONTOSO.issue("sip:contoso.com", not_after=NOW + 20 * DAY)
NEW = CONTOSO.issue("sip:contoso.com", not_after=NOW + 400 * DAY)
POLICY = """\
[enterprise]
domains = ["contoso.com"]
authority = "contoso-ca.pem"
[[partner]]
domains = ["fabrikam.com"]
authority = "fabrikam-ca.pem"
"""
NARROWER = 'blocked = ["fabrikam.com"]\n' + POLICY


def key_of(credential: Credential) -> bytes:
    return pem(credential).partition(b"-----BEGIN CERTIFICATE")[0]


def chain_of(credential: Credential) -> bytes:
    return b"".join(pem(credential).partition(b"-----BEGIN CERTIFICATE")[1:])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "contoso.pem").write_bytes(chain_of(OLD))
    (tmp_path / "contoso.key").write_bytes(key_of(OLD))
    (tmp_path / "contoso-ca.pem").write_bytes(CONTOSO.pem)
    (tmp_path / "fabrikam-ca.pem").write_bytes(FABRIKAM.pem)
    (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
    return tmp_path


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@define(eq=False)
class Stub:
    """A transport: what it was given, and why it will not take the next."""

    given: list[dict[str, Any]] = Factory(list)
    error: Exception | None = None
    refuses: str = ""
    connected: Any = ()

    def update(self, *, credential: Any = None, policy: Any = None) -> None:
        both = {"credential": credential, "policy": policy}
        new = {keyword: value for keyword, value in both.items() if value is not None}
        if self.error is not None and (not self.refuses or self.refuses in new):
            raise self.error
        self.given.append(new)

    def peers(self) -> list[Peer]:
        if isinstance(self.connected, Exception):
            raise self.connected
        return list(self.connected)


@define(eq=False)
class Site:
    """A watch over the files of a folder, a transport, and what was told."""

    folder: Path
    watch: Watch
    transport: Stub
    told: list[WatchEvent]

    def look(self, times: int = 1, **options: Any) -> list[tuple[str, list[str]]]:
        """Look several times; give what was told meanwhile, in short."""
        before = len(self.told)
        for _ in range(times):
            self.watch.check(**options)
        return [(e.what, [Path(file).name for file in e.files]) for e in self.told[before:]]

    def write(self, name: str, data: bytes | str) -> None:
        (self.folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    def serial(self) -> int:
        assert self.watch.credential is not None
        return self.watch.credential.chain[0].serial_number


def watched(folder: Path, **options: Any) -> Watch:
    files = {"credential": [folder / "contoso.pem", folder / "contoso.key"]}
    return watch(**{**files, "policy": folder / "policy.toml", **options})


@pytest.fixture
def site(folder: Path) -> Site:
    told: list[WatchEvent] = []
    transport = Stub()
    one = watched(folder, on_change=told.append)
    one.attach(transport)
    transport.given.clear()
    return Site(folder, one, transport, told)


# ---------------------------------------------------------------- the first load


def test_the_files_are_loaded_at_once(folder: Path) -> None:
    one = watched(folder)
    assert one.credential is not None
    assert one.credential.chain == OLD.chain
    assert one.policy == load_policy(folder / "policy.toml")
    names = ["contoso.pem", "contoso.key", "policy.toml", "contoso-ca.pem", "fabrikam-ca.pem"]
    assert one.files == tuple(str(folder / name) for name in names)
    assert one.check() == ()


def test_one_of_the_two_is_enough(folder: Path) -> None:
    (folder / "all.pem").write_bytes(pem(OLD))
    ours = watch(credential=str(folder / "all.pem"))
    assert (ours.credential is not None, ours.policy) == (True, None)
    theirs = watch(policy=folder / "policy.toml")
    assert (theirs.credential, theirs.policy is not None) == (None, True)
    assert (ours.check(), theirs.check()) == ((), ())


def test_the_first_errors_are_raised(folder: Path) -> None:
    (folder / "contoso.key").write_bytes(key_of(NEW))
    with pytest.raises(CertificateError, match="was one of them renewed without the other"):
        watched(folder)
    with pytest.raises(ConfigurationError, match="cannot read"):
        watch(policy=folder / "none.toml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing is to be watched"),
        ({"credential": [b"-----BEGIN"]}, "watched by its path, not a bytes"),
        ({"credential": OLD}, "pass the files that it was read from"),
        ({"policy": "p", "interval": 0}, "interval is a positive number of seconds"),
        ({"policy": "p", "interval": True}, "interval is a positive number of seconds"),
        ({"policy": "p", "interval": "5"}, "interval is a positive number of seconds"),
        ({"policy": "p", "warn": [0]}, "positive numbers"),
        ({"policy": "p", "on_change": 1}, "on_change= is a plain function"),
        ({"policy": "p", "on_ending": 1}, "on_ending= is a plain function"),
        ({"policy": "p", "combine": 1}, "combine= is a plain function"),
        ({"credential": "c", "combine": id}, "pass policy=, too"),
        ({"policy": "p", "staple": "s"}, "pass credential=, too"),
    ],
)
def test_what_cannot_be_meant_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        watch(**options)


def test_a_path_stays_the_same_in_another_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(folder)
    one = watch(credential=["contoso.pem", "contoso.key"], policy="policy.toml")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert one.check(settled=True) == ()


def test_a_password_and_a_staple_are_passed_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "all.pem").write_bytes(pem(OLD, password="secret"))
    one = watch(credential=folder / "all.pem", password="secret")
    assert one.credential is not None
    seen: list[Any] = []

    def from_pem(*sources: Any, **options: Any) -> Credential:
        seen.append((sources, options))
        return OLD

    monkeypatch.setattr(Credential, "from_pem", from_pem)
    watch(credential=folder / "all.pem", staple=folder / "staple.der")
    staple = str(folder / "staple.der")
    assert seen == [((str(folder / "all.pem"),), {"password": None, "staple": staple})]


# ---------------------------------------------------------------- what is renewed


def renew(site: Site) -> None:
    site.write("contoso.pem", chain_of(NEW))
    site.write("contoso.key", key_of(NEW))


def test_what_is_renewed_counts_at_the_second_look(site: Site) -> None:
    renew(site)
    assert site.look() == []
    assert (site.serial(), site.transport.given) == (OLD.chain[0].serial_number, [])
    assert site.look() == [("reloaded", ["contoso.pem", "contoso.key"])]
    paths = [str(site.folder / name) for name in ("contoso.pem", "contoso.key")]
    assert str(site.told[0]) == f"{paths[0]} and {paths[1]}: reloaded"
    assert site.transport.given == [{"credential": site.watch.credential}]
    assert site.serial() == NEW.chain[0].serial_number
    assert site.look(3) == []


def test_files_that_are_known_to_be_complete_count_at_once(site: Site) -> None:
    renew(site)
    assert site.look(settled=True) == [("reloaded", ["contoso.pem", "contoso.key"])]
    assert site.serial() == NEW.chain[0].serial_number


def test_both_at_once_are_one_update(site: Site) -> None:
    renew(site)
    site.write("policy.toml", NARROWER)
    assert site.look(2) == [("reloaded", ["contoso.pem", "contoso.key", "policy.toml"])]
    assert [sorted(new) for new in site.transport.given] == [["credential", "policy"]]
    assert site.watch.policy == load_policy(site.folder / "policy.toml")


def test_a_certificate_and_then_its_key(site: Site) -> None:
    """A look between them finds a mismatch, which is told only if it lasts."""
    site.write("contoso.pem", chain_of(NEW))
    assert site.look() == []
    site.write("contoso.key", key_of(NEW))
    assert site.look() == []
    assert site.look() == [("reloaded", ["contoso.pem", "contoso.key"])]


def test_a_key_that_is_late_is_told_and_never_applied(site: Site) -> None:
    site.write("contoso.key", key_of(NEW))
    assert site.look(5) == [("failed", ["contoso.key"])]
    assert "was one of them renewed without the other" in str(site.told[0])
    assert (site.serial(), site.transport.given) == (OLD.chain[0].serial_number, [])
    site.write("contoso.pem", chain_of(NEW))
    assert site.look(2) == [("reloaded", ["contoso.pem"])]
    assert site.serial() == NEW.chain[0].serial_number


def test_a_file_that_is_being_written_is_waited_for(site: Site) -> None:
    """Half a policy is a policy: one in which partners are missing."""
    head, _, tail = POLICY.partition("[[partner]]")
    site.write("policy.toml", "# new\n" + head)
    assert site.look() == []
    site.write("policy.toml", "# new\n" + head + "[[partner]]\n")
    assert site.look() == []
    site.write("policy.toml", "# new\n" + head + "[[partner]]" + tail)
    assert site.look() == []
    assert site.look() == [("reloaded", ["policy.toml"])]
    assert site.watch.policy == load_policy(site.folder / "policy.toml")


def test_a_file_that_is_newly_named_is_waited_for(site: Site) -> None:
    """It was never looked at before, and may be half written as well."""
    site.write("policy.toml", POLICY.replace("fabrikam-ca", "new-ca"))
    site.write("new-ca.pem", FABRIKAM.pem)
    assert site.look() == []
    site.write("new-ca.pem", FABRIKAM.pem + CONTOSO.pem)
    assert site.look() == []
    assert site.look() == [("reloaded", ["policy.toml"])]
    assert str(site.folder / "new-ca.pem") in site.watch.files
    assert str(site.folder / "fabrikam-ca.pem") not in site.watch.files
    site.write("new-ca.pem", FABRIKAM.pem)
    assert site.look(2) == [("reloaded", ["new-ca.pem"])]


def test_what_is_as_before_at_the_next_look_is_nothing_new(site: Site) -> None:
    site.write("contoso.key", b"")
    assert site.look() == []
    site.write("contoso.key", key_of(OLD))
    assert site.look(3) == []
    site.write("contoso.key", b"")
    assert site.look() == []


def test_an_atomic_rename(site: Site) -> None:
    both = site.folder / "new.toml"
    both.write_text(NARROWER, encoding="utf-8")
    both.replace(site.folder / "policy.toml")
    assert site.look(2) == [("reloaded", ["policy.toml"])]


def test_the_same_size_and_time_hide_nothing(site: Site) -> None:
    path = site.folder / "policy.toml"
    before = path.stat()
    path.write_text(POLICY.replace("fabrikam.com", "northwind.co"), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert site.look(2) == [("reloaded", ["policy.toml"])]


def test_a_new_time_alone_is_nothing_new(site: Site) -> None:
    os.utime(site.folder / "policy.toml", (1, 1))
    site.write("contoso.pem", chain_of(OLD))
    assert site.look(2) == []


def test_a_symlink_that_is_swapped(folder: Path, tmp_path: Path) -> None:
    """As Kubernetes does: the files are links into ``..data``, which is a link itself."""
    mount = tmp_path / "mount"
    for version, credential in (("..1", OLD), ("..2", NEW)):
        (mount / version).mkdir(parents=True)
        (mount / version / "tls.crt").write_bytes(chain_of(credential))
        (mount / version / "tls.key").write_bytes(key_of(credential))
    (mount / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(Path("..data") / name)
    one = watch(credential=[mount / "tls.crt", mount / "tls.key"])
    (mount / "..new").symlink_to("..2")
    (mount / "..new").replace(mount / "..data")
    shutil.rmtree(mount / "..1")
    assert one.check() == ()
    assert [event.what for event in one.check()] == ["reloaded"]
    assert one.credential is not None
    assert one.credential.chain == NEW.chain


# ---------------------------------------------------------------- what is broken


def remove(path: Path) -> None:
    path.unlink()


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def forbid(path: Path) -> None:
    path.chmod(0)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def swap_key(path: Path) -> None:
    path.write_bytes(key_of(NEW))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def broken_pem(path: Path) -> None:
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def no_toml(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"[[partner\n")


def unknown_key(path: Path) -> None:
    path.write_bytes(b"nonsense = 1\n" + path.read_bytes())


def unknown_file(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"fabrikam-ca", b"nobodys-ca"))


def nobody(path: Path) -> None:
    path.write_bytes(b'blocked = ["evil.example"]\n')


FILES = ["contoso.pem", "contoso.key", "contoso-ca.pem", "fabrikam-ca.pem", "policy.toml"]
BREAKAGES: list[tuple[str, Callable[[Path], None]]] = [
    *[(name, how) for name in FILES for how in (remove, make_a_folder, empty, garbage)],
    *[(name, cut) for name in FILES if name != "policy.toml"],  # half of a policy is one
    ("contoso.key", swap_key),
    ("contoso.pem", broken_pem),
    ("fabrikam-ca.pem", broken_pem),
    *[("policy.toml", how) for how in (no_toml, unknown_key, unknown_file, nobody)],
]


@pytest.mark.parametrize(("name", "how"), BREAKAGES)
def test_a_broken_file_is_told_once_and_changes_nothing(
    site: Site, name: str, how: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = site.folder / name
    sound = path.read_bytes()
    kept = (site.watch.credential, site.watch.policy)

    how(path)
    with caplog.at_level(logging.INFO, "siptls"):
        assert site.look() == []
        assert site.look(4) == [("failed", [name])]
    assert isinstance(site.told[0].error, CertificateError | ConfigurationError)
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING and name in r.message]
    assert len(warnings) == 1
    assert (site.watch.credential, site.watch.policy) == kept
    assert site.transport.given == []

    if path.is_dir():
        path.rmdir()
    path.write_bytes(sound)
    assert site.look(2) == [("reloaded", [name])]
    assert len(site.transport.given) == 1
    assert site.look(2) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(site: Site) -> None:
    forbid(site.folder / "contoso.key")
    assert site.look(4) == [("failed", ["contoso.key"])]
    (site.folder / "contoso.key").chmod(0o600)
    assert site.look(2) == [("reloaded", ["contoso.key"])]


def test_a_file_that_is_broken_otherwise_is_told_anew(site: Site) -> None:
    remove(site.folder / "contoso.key")
    assert site.look(3) == [("failed", ["contoso.key"])]
    site.write("contoso.key", b"")
    assert site.look(3) == [("failed", ["contoso.key"])]
    site.write("contoso.key", b"\n")
    assert site.look(3) == []  # the very same words
    assert [str(event.error) for event in site.told][1].endswith("one is wanted, in PEM form")


def test_a_broken_credential_keeps_no_policy_from_being_renewed(site: Site) -> None:
    cut(site.folder / "contoso.key")
    site.write("policy.toml", NARROWER)
    assert site.look(2) == [("failed", ["contoso.key"]), ("reloaded", ["policy.toml"])]
    assert site.transport.given == [{"policy": site.watch.policy}]


def test_a_folder_that_vanishes_comes_back(site: Site) -> None:
    away = site.folder.with_name("away")
    site.folder.rename(away)
    assert [what for what, _ in site.look(3)] == ["failed", "failed"]
    away.rename(site.folder)
    assert [what for what, _ in site.look(2)] == ["reloaded"]


@pytest.mark.parametrize(
    "dates",
    [
        {"not_after": NOW - DAY},
        {"not_before": NOW + DAY},
    ],
)
def test_a_valid_certificate_is_not_replaced_by_one_that_is_not(
    site: Site, dates: dict[str, Any]
) -> None:
    wrong = CONTOSO.issue("sip:contoso.com", **dates)
    site.write("contoso.pem", chain_of(wrong))
    site.write("contoso.key", key_of(wrong))
    assert site.look(4, now=NOW) == [("failed", ["contoso.pem", "contoso.key"])]
    assert "the one in use is valid now" in str(site.told[0])
    assert site.serial() == OLD.chain[0].serial_number
    # When the old one has ended, or the new one has begun, it is taken without another change.
    later = NOW + (30 if "not_after" in dates else 2) * DAY
    assert site.look(now=later) == [("reloaded", ["contoso.pem", "contoso.key"])]


# ---------------------------------------------------------------- a policy of more than a file


def test_a_policy_may_be_narrowed_by_what_no_file_can_have(folder: Path) -> None:
    one = watched(folder, combine=lambda policy: policy & Blocked(["evil.example"]))
    transport = Stub()
    one.attach(transport)
    assert one.policy == load_policy(folder / "policy.toml") & Blocked(["evil.example"])
    (folder / "policy.toml").write_text(NARROWER, encoding="utf-8")
    one.check(settled=True)
    wanted = load_policy(folder / "policy.toml") & Blocked(["evil.example"])
    assert transport.given[-1] == {"policy": wanted}


def test_what_narrows_it_may_fail(site: Site, folder: Path) -> None:
    answers: list[Any] = [load_policy(folder / "policy.toml"), None, 1 / 3]

    def combine(_: TrustPolicy) -> TrustPolicy:
        answer = answers.pop(0)
        if answer is None:
            raise ZeroDivisionError("combine")
        return answer  # type: ignore[no-any-return]

    one = watched(folder, combine=combine)
    for number, words in enumerate(["combine", "a TrustPolicy is needed"]):
        (folder / "policy.toml").write_text(f"# {number}\n" + POLICY, encoding="utf-8")
        (event,) = one.check(settled=True)
        assert event.what == "failed"
        assert words in str(event)


# ---------------------------------------------------------------- whom it is given to


def test_whoever_is_attached_is_updated_at_once_and_until_detached(site: Site) -> None:
    late, never = Stub(), Stub()
    site.watch.attach(late)
    both = {"credential": site.watch.credential, "policy": site.watch.policy}
    assert late.given == [both]
    site.watch.detach(late, never)
    renew(site)
    assert site.look(2) == [("reloaded", ["contoso.pem", "contoso.key"])]
    assert (len(late.given), len(site.transport.given)) == (1, 1)


def test_a_transport_is_given_what_it_takes(site: Site) -> None:
    ours, theirs, nothing = Stub(), Stub(), Stub()
    site.watch.attach(ours, policy=False)
    site.watch.attach(theirs, credential=False)
    site.watch.attach(nothing, credential=False, policy=False)
    renew(site)
    site.write("policy.toml", NARROWER)
    site.look(2)
    assert [sorted(new) for new in ours.given] == [["credential"]] * 2
    assert [sorted(new) for new in theirs.given] == [["policy"]] * 2
    assert nothing.given == []


def test_who_cannot_be_updated_is_not_attached(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="has no update"):
        site.watch.attach(object())  # type: ignore[arg-type]
    faulty = Stub(error=CertificateError("too weak"))
    with pytest.raises(CertificateError, match="too weak"):
        site.watch.attach(faulty)
    faulty.error = None
    renew(site)
    site.look(2)
    assert faulty.given == []


def test_a_transport_that_refuses_keeps_no_other_from_being_updated(site: Site) -> None:
    other = Stub()
    site.watch.attach(other)
    site.transport.error = CertificateError("too weak")
    renew(site)
    assert [what for what, _ in site.look(3)] == ["reloaded", "failed"]
    assert site.told[-1].transport is site.transport
    assert str(site.told[-1]).endswith(
        "not taken by a Stub, and the last good one stays in use: too weak"
    )
    assert other.given[-1] == {"credential": site.watch.credential}
    assert site.serial() == NEW.chain[0].serial_number
    # It is given what it has not taken together with the next thing that is new.
    site.transport.error = None
    site.write("policy.toml", NARROWER)
    site.look(2)
    assert [sorted(new) for new in site.transport.given] == [["credential", "policy"]]
    assert other.given[-1] == {"policy": site.watch.policy}


def test_a_policy_does_not_wait_for_a_credential_that_is_refused(site: Site) -> None:
    site.transport.error, site.transport.refuses = CertificateError("too weak"), "credential"
    renew(site)
    site.write("policy.toml", NARROWER)
    assert [what for what, _ in site.look(2)] == ["reloaded", "failed"]
    assert site.transport.given == [{"policy": site.watch.policy}]


def test_a_callback_that_fails_changes_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    one = watched(folder, on_change=fail, on_ending=fail)
    cut(folder / "contoso.key")
    (event,) = one.check(settled=True, now=NOW + 19.5 * DAY)
    assert event.what == "failed"
    assert "on_change failed" in caplog.text
    assert "on_ending failed" in caplog.text


def test_a_callback_may_call_the_watch(folder: Path) -> None:
    seen: list[object] = []

    def again(event: WatchEvent) -> None:
        one.detach(transport)
        seen.extend([event.what, one.check(), one.policy])
        one.close()

    transport = Stub()
    one = watched(folder, on_change=again)
    one.attach(transport)
    (folder / "policy.toml").write_text(NARROWER, encoding="utf-8")
    one.check(settled=True)
    assert seen == ["reloaded", (), one.policy]


# ---------------------------------------------------------------- what ends


def notices(site: Site) -> list[EndingNotice]:
    found: list[EndingNotice] = []
    site.watch._on_ending = found.append
    return found


def test_what_ends_is_told_in_time(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    found = notices(site)
    site.look(3, now=NOW)
    assert [(one.ending.kind, one.days) for one in found] == []
    site.look(3, now=NOW + 13.5 * DAY)
    assert [(one.ending.kind, one.days) for one in found] == [(EndingKind.CREDENTIAL, 7)]
    assert "our certificate CN=contoso.com" in caplog.text
    renew(site)
    site.look(2, now=NOW + 19.5 * DAY)
    assert [one.days for one in found] == [7, 1]
    site.look(now=NOW + 25 * DAY)
    assert len(found) == 2  # the new one is far from its end
    site.look(now=NOW + 371 * DAY)
    assert [one.days for one in found] == [7, 1, 30]


def test_peers_and_anchors_are_among_it(site: Site) -> None:
    found = notices(site)
    leaf = FABRIKAM.issue("sip:fabrikam.com").chain[0]
    peer = Peer([BelievedName("fabrikam.com")], [leaf, FABRIKAM.certificate], NOW + 100 * DAY)
    site.transport.connected = [peer, peer]
    site.watch.attach(Mute())
    site.look(now=NOW + 95 * DAY)
    assert [(one.ending.kind, one.days) for one in found][1:] == [(EndingKind.PEER, 7)]
    site.look(now=NOW + 3640 * DAY)
    kinds = [one.ending.kind for one in found]
    assert kinds.count(EndingKind.ANCHOR) == 2


class Mute:
    """Something with ``update`` and nothing else."""

    def update(self, *, credential: Any = None, policy: Any = None) -> None:
        """Take it."""


def test_a_transport_that_cannot_tell_its_peers(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.transport.connected = RuntimeError("closed")
    renew(site)
    assert site.look(2) == [("reloaded", ["contoso.pem", "contoso.key"])]
    assert "a Stub does not tell its peers" in caplog.text


def test_a_policy_that_tells_nonsense_keeps_nothing_from_being_renewed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Own:
        authorities = 7

        def evaluate(self, evidence: Any, /) -> Any:
            raise NotImplementedError

    one = watched(folder, combine=lambda _: Own())
    (folder / "policy.toml").write_text(NARROWER, encoding="utf-8")
    assert [event.what for event in one.check(settled=True)] == ["reloaded"]
    assert "what ends cannot be told" in caplog.text


# ---------------------------------------------------------------- the thread


def test_without_the_extra_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert _watchfiles() is None


@pytest.mark.parametrize("has_watchfiles", [False, True])
def test_the_thread_looks_by_itself(
    folder: Path, has_watchfiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    interval = 0.01
    if has_watchfiles:
        pytest.importorskip("watchfiles")
        interval = 20.0  # so that it is the kernel that tells
        monkeypatch.setattr("siptls.watching._SETTLE", 0.01)
    else:
        monkeypatch.setattr("siptls.watching._watchfiles", lambda: None)
    told, reloaded = list[WatchEvent](), threading.Event()

    def on_change(event: WatchEvent) -> None:
        told.append(event)
        reloaded.set()

    with watched(folder, on_change=on_change, interval=interval) as one:
        one.start()  # a second time: nothing
        threads = [thread.name for thread in threading.enumerate()]
        assert threads.count("siptls-watch") == 1
        (folder / "policy.toml").write_text(NARROWER, encoding="utf-8")
        while not reloaded.wait(0.5):  # the kernel may not have been asked to tell before
            (folder / "another").write_bytes(b"")
            (folder / "another").unlink()
    assert [event.what for event in told] == ["reloaded"]
    with pytest.raises(ConfigurationError, match="the watch is closed"):
        one.start()


def test_what_the_kernel_cannot_tell_is_looked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*folders: str, **options: Any) -> Iterator[None]:
        (folder / "policy.toml").write_text(NARROWER, encoding="utf-8")
        raise OSError("no more watches")

    monkeypatch.setattr("siptls.watching._watchfiles", lambda: broken)
    reloaded = threading.Event()
    with watched(folder, on_change=lambda _: reloaded.set(), interval=0.01):
        assert reloaded.wait(20)


def test_other_files_are_watched_from_then_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is asked anew when a policy names a file in another folder."""
    asked: list[tuple[str, ...]] = []
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ca.pem").write_bytes(FABRIKAM.pem)
    again = threading.Event()

    def telling(*folders: str, stop_event: threading.Event, **options: Any) -> Iterator[None]:
        asked.append(folders)
        if len(asked) == 1:
            text = POLICY.replace("fabrikam-ca", "elsewhere/ca")
            (folder / "policy.toml").write_text(text, encoding="utf-8")
        else:
            again.set()
        while not stop_event.wait(0.01):
            yield

    monkeypatch.setattr("siptls.watching._SETTLE", 0.01)
    monkeypatch.setattr("siptls.watching._watchfiles", lambda: telling)
    with watched(folder):
        assert again.wait(20)
    assert asked == [(str(folder),), (str(folder), str(elsewhere))]


def test_a_look_that_fails_does_not_end_the_thread(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[None] = []
    enough = threading.Event()

    def check(**options: Any) -> tuple[WatchEvent, ...]:
        looks.append(None)
        if len(looks) == 2:
            enough.set()
        raise ZeroDivisionError

    one = watched(folder, interval=0.01)
    monkeypatch.setattr("siptls.watching._watchfiles", lambda: None)
    monkeypatch.setattr(one, "check", check)
    with one:
        assert enough.wait(20)
    assert "a look at the watched files failed" in caplog.text


def test_a_callback_that_takes_long_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("siptls.watching._CLOSE_TIMEOUT", 0.01)
    called, release = threading.Event(), threading.Event()

    def on_change(_: WatchEvent) -> None:
        called.set()
        release.wait(20)

    one = watched(folder, on_change=on_change, interval=0.01)
    with one:
        (folder / "policy.toml").write_text(NARROWER, encoding="utf-8")
        assert called.wait(20)
    assert "a callback of the watch still runs" in caplog.text
    release.set()
    assert one._thread is not None
    one._thread.join(20)


def test_a_watch_closes_itself_in_its_thread(folder: Path) -> None:
    closed = threading.Event()

    def on_change(_: WatchEvent) -> None:
        one.close()
        closed.set()

    one = watched(folder, on_change=on_change, interval=0.01)
    with one:
        (folder / "policy.toml").write_text(NARROWER, encoding="utf-8")
        assert closed.wait(20)


def test_a_watch_that_was_not_started_is_closed(folder: Path) -> None:
    watched(folder).close()
