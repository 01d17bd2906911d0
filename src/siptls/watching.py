"""Watch: certificates and policies that are renewed while everything runs.

What is good in the files is given to every transport that is attached. What is not is told, and
changes nothing. Nothing that stands in a file, and nothing that a callback or a transport raises,
ends a watch. What a look is stands in ``watched.py``.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeAlias

from siptls.arguments import check_callback, check_seconds, kind_of
from siptls.errors import ConfigurationError
from siptls.journal import log as _log
from siptls.policyfile import load_policy
from siptls.trust.endings import (
    Ending,
    EndingNotice,
    Reminder,
    endings_of_chain,
    endings_of_peers,
    endings_of_policy,
    endings_of_staple,
)
from siptls.trust.fault import describe
from siptls.trust.policy import TrustPolicy, require_policy
from siptls.watched import Attached, Subject, Updatable, WatchEvent
from siptls.wire.credential import Credential

__all__ = ["Watch", "watch"]


File: TypeAlias = str | os.PathLike[str]
OnChange: TypeAlias = Callable[[WatchEvent], object]
OnEnding: TypeAlias = Callable[[EndingNotice], object]
Combine: TypeAlias = Callable[[TrustPolicy], TrustPolicy]

# Seconds between a look that found something new and the next one: longer than a program needs to
# write a key after its certificate, shorter than anyone wants to wait.
_SETTLE = 1.0
# Endings are days away; to look for them at each look would name 10,000 peers every few seconds.
_REMIND_EVERY = timedelta(minutes=1)
# Seconds for which close() waits for a callback that is running.
_CLOSE_TIMEOUT = 5.0


# ---------------------------------------------------------------- the watch


class Watch:
    """The last good credential and policy of some files, and whoever is kept up to date with them.

    `watch` makes one. As a context manager it looks at the files in a thread of its own; without
    one, call `check`.
    """

    def __init__(  # noqa: PLR0913  as many as `watch` has
        self,
        credential: Subject[Credential] | None,
        policy: Subject[TrustPolicy] | None,
        *,
        interval: float,
        on_change: OnChange | None,
        on_ending: OnEnding | None,
        reminder: Reminder,
    ) -> None:
        self._credential = credential
        self._policy = policy
        self._interval = interval
        self._on_change = on_change
        self._on_ending = on_ending
        self._reminder = reminder
        self._reminded: datetime | None = None
        self._attached: list[Attached] = []
        # Whoever looks, attaches or detaches holds it; it is released before a callback is called.
        # A transport that is updated may call the application, and that the watch again.
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def credential(self) -> Credential | None:
        """The last good credential; None if none is watched."""
        return None if self._credential is None else self._credential.value

    @property
    def policy(self) -> TrustPolicy | None:
        """The last good policy, as ``combine`` has made it; None if none is watched."""
        return None if self._policy is None else self._policy.value

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are looked at, as absolute paths: with those that a policy file names."""
        return tuple(dict.fromkeys(path for one in self._subjects() for path in one.known))

    def attach(self, *transports: Updatable, credential: bool = True, policy: bool = True) -> None:
        """Keep transports up to date, from now until `detach`. Each is updated at once, too.

        Args:
            transports: Anything with ``update(*, credential, policy)``.
            credential: Whether they are given the credential, if one is watched.
            policy: Whether they are given the policy, if one is watched. A `TLSServerTransport`
                has none.

        Raises:
            ConfigurationError: It has no ``update``, or will not take what the files hold.
            CertificateError: It will not take what the files hold.
        """
        takes = {"credential": credential, "policy": policy}
        for transport in transports:
            if isinstance(transport, type):
                raise ConfigurationError(
                    f"{transport.__name__} is a class: attach the transport that you have made"
                )
            if not callable(getattr(transport, "update", None)):
                raise ConfigurationError(
                    f"{kind_of(transport)} has no update(): a watch is attached to transports"
                )
            one = Attached(
                transport, frozenset(word for word, takes_it in takes.items() if takes_it)
            )
            with self._lock:
                one.give(self._values())
                self._attached.append(one)

    def detach(self, *transports: Updatable) -> None:
        """Leave transports alone from now on; one that is not attached is no error."""
        with self._lock:
            self._attached = [
                one for one in self._attached if all(one.transport is not t for t in transports)
            ]

    def check(
        self, *, settled: bool = False, now: datetime | None = None
    ) -> tuple[WatchEvent, ...]:
        """Look at the files now, and update whoever is attached.

        Something new counts at the second look that finds it the same.

        Args:
            settled: The files are known to be complete: what is new counts at once.
            now: The time; aware. By default the present.

        Returns:
            What was told to ``on_change``: nothing, most of the time.
        """
        when = datetime.now(UTC) if now is None else now
        with self._lock:
            looks = [one.look(when, settled=settled) for one in self._subjects()]
            events = self._events([event for event in looks if event is not None])
            notices = self._notices(when, at_once=bool(events))
        for event in events:
            level = logging.INFO if event.what == "reloaded" else logging.WARNING
            _log.log(level, "%s", event)
            _call("on_change", self._on_change, event)
        for notice in notices:
            _log.warning("%s", notice)
            _call("on_ending", self._on_ending, notice)
        return events

    def start(self) -> None:
        """Look at the files in a thread, until `close`. A second call does nothing.

        Raises:
            ConfigurationError: It is closed.
        """
        if self._stop.is_set():
            raise ConfigurationError("the watch is closed: make a new one")
        if self._thread is None:
            # A daemon: whoever forgets to close it can end his program all the same.
            thread = threading.Thread(target=self._run, name="siptls-watch", daemon=True)
            thread.start()
            self._thread = thread

    def close(self) -> None:
        """End the thread. What is attached keeps what it has."""
        self._stop.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(_CLOSE_TIMEOUT)
        if thread.is_alive():
            _log.warning("a callback of the watch still runs; its thread ends after it")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------- a look

    def _subjects(self) -> list[Subject[Any]]:
        return [one for one in (self._credential, self._policy) if one is not None]

    def _values(self) -> dict[str, object]:
        return {one.keyword: one.value for one in self._subjects()}

    def _events(self, looks: Sequence[WatchEvent]) -> tuple[WatchEvent, ...]:
        """Hand over what is new; make one event of what has gone well together."""
        events = [event for event in looks if event.what == "failed"]
        good = [event for event in looks if event.what == "reloaded"]
        if good:
            files = tuple(dict.fromkeys(file for event in good for file in event.files))
            events.append(WatchEvent("reloaded", files))
            values = self._values()
            for one in list(self._attached):
                try:
                    one.give(values)
                except Exception as error:  # noqa: BLE001  it keeps no other from being updated
                    events.append(WatchEvent("failed", files, error, one.transport))
        return tuple(events)

    def _notices(self, now: datetime, *, at_once: bool) -> list[EndingNotice]:
        last = self._reminded
        if last is not None and abs(now - last) < _REMIND_EVERY and not at_once:
            return []
        self._reminded = now
        try:
            return self._reminder.due(now, self._endings())
        except Exception:  # noqa: BLE001  a policy of the application's may tell anything
            _log.exception("what ends cannot be told")
            return []

    def _endings(self) -> list[Ending]:
        endings: list[Ending] = []
        if self._credential is not None:
            ours = self._credential.value
            endings += endings_of_chain(ours.chain)
            if ours.staple is not None:
                endings += endings_of_staple(ours.staple, describe(ours.chain[0]))
        if self._policy is not None:
            endings += endings_of_policy(self._policy.value)
        return endings + endings_of_peers(peer for one in self._attached for peer in one.peers())

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        for _ in itertools.chain([None], self._times()):
            self._look()
            while self._is_unsettled() and not self._stop.wait(min(_SETTLE, self._interval)):
                self._look()

    def _look(self) -> None:
        try:
            self.check()
        except Exception:  # noqa: BLE001  the next look may go well
            _log.exception("a look at the watched files failed")

    def _is_unsettled(self) -> bool:
        return any(one.unsettled for one in self._subjects())

    def _times(self) -> Iterator[None]:
        """Come round whenever it is time for a look, until the watch is closed."""
        changes = _watchfiles()
        if changes is not None:
            yield from self._times_of(changes)
        while not self._stop.wait(self._interval):
            yield

    def _times_of(self, changes: Callable[..., Iterable[object]]) -> Iterator[None]:
        """The same, and at once if the kernel tells of a change in one of the folders."""
        while not self._stop.is_set():
            folders = self._folders()
            try:
                for _ in changes(
                    *folders,
                    watch_filter=None,
                    stop_event=self._stop,
                    rust_timeout=max(1, int(self._interval * 1000)),
                    yield_on_timeout=True,
                    raise_interrupt=False,
                    recursive=False,
                ):
                    yield
                    if self._folders() != folders:
                        break
            except Exception as error:  # noqa: BLE001  without it, it is looked every few seconds
                _log.debug("no changes of %s are told: %s", folders, error)
                if not self._stop.wait(self._interval):
                    yield

    def _folders(self) -> list[str]:
        """The folders of the files; a folder that is gone is looked for at each time."""
        folders = {Path(path).parent for path in self.files}
        return sorted(str(folder) for folder in folders if folder.is_dir())


def _watchfiles() -> Callable[..., Iterable[object]] | None:
    try:
        return importlib.import_module("watchfiles").watch  # type: ignore[no-any-return]
    except ImportError:  # the extra is not installed
        return None


def _call(name: str, callback: Callable[[Any], object] | None, value: object) -> None:
    if callback is None:
        return
    try:
        callback(value)
    except Exception:  # noqa: BLE001  whatever it is, it is the application's
        _log.exception("%s failed; it changes nothing", name)


# ---------------------------------------------------------------- making one


def watch(  # noqa: PLR0913  what is watched, how, and who is told
    *,
    credential: File | Sequence[File] | None = None,
    password: str | bytes | None = None,
    staple: File | None = None,
    policy: File | None = None,
    combine: Combine | None = None,
    interval: float = 5.0,
    on_change: OnChange | None = None,
    on_ending: OnEnding | None = None,
    warn: Iterable[float] = (30, 7, 1),
) -> Watch:
    """Watch the files of a credential, of a policy, or of both. They are loaded at once.

    A file that is broken later changes nothing: what was good stays in use, and it is told.

    Args:
        credential: The file, or the files, that `Credential.from_pem` reads.
        password: Opens the key if it is encrypted.
        staple: The file with the OCSP response for it. After a renewal the two are used when both
            are there.
        policy: The file that `load_policy` reads. The files that it names are watched, too.
        combine: Makes the policy to use from that of the file, to narrow it by a condition that no
            file can have: ``lambda policy: policy & MyCondition()``.
        interval: Seconds between two looks of the thread. With the extra ``watch`` it looks at
            once when a file changes, and at this interval besides.
        on_change: Called with each `WatchEvent`: in the thread, or by `Watch.check`.
        on_ending: Called with each `EndingNotice`, likewise: a certificate, a trust anchor, a CRL
            or the trust in a connected peer ends soon, or has ended.
        warn: How many days before, each time once; see `Reminder`.

    Returns:
        A watch that is not started.

    Raises:
        ConfigurationError: A file cannot be read, the policy is faulty, or nothing is to be
            watched.
        CertificateError: The credential cannot be loaded.
    """
    if credential is None and policy is None:
        raise ConfigurationError("nothing is to be watched: pass credential=, policy= or both")
    if staple is not None and credential is None:
        raise ConfigurationError("staple= is for a certificate of ours: pass credential=, too")
    if combine is not None and policy is None:
        raise ConfigurationError("combine= makes a policy from that of a file: pass policy=, too")
    check_seconds("interval", interval)
    for name, callback in (
        ("on_change", on_change),
        ("on_ending", on_ending),
        ("combine", combine),
    ):
        check_callback(name, callback)
    reminder = Reminder(warn)
    ours = theirs = None
    if credential is not None:
        files = [credential] if isinstance(credential, str | os.PathLike) else credential
        if isinstance(files, Credential):
            raise ConfigurationError(
                "credential= is watched by its path, or a list of them: pass the files that it was"
                " read from"
            )
        paths = [_as_path("credential", file) for file in files]
        options: dict[str, Any] = {"password": password}
        if staple is not None:
            options["staple"] = _as_path("staple", staple)
        ours = Subject.first("credential", lambda: Credential.from_pem(*paths, **options))
    if policy is not None:
        path = _as_path("policy", policy)
        theirs = Subject.first("policy", lambda: _load_policy(path, combine))
    return Watch(
        ours,
        theirs,
        interval=interval,
        on_change=on_change,
        on_ending=on_ending,
        reminder=reminder,
    )


def _load_policy(path: str, combine: Combine | None) -> TrustPolicy:
    policy = load_policy(path)
    if combine is not None:
        policy = combine(policy)
        require_policy(policy)
    return policy


def _as_path(name: str, value: File) -> str:
    """Take a path. It stays the same file if the process changes its folder later."""
    if not isinstance(value, str | os.PathLike):
        raise ConfigurationError(f"{name}= is watched by its path, not {kind_of(value)}")
    return os.path.abspath(os.fsdecode(value))  # noqa: PTH100  a symlink is to be followed anew each time
