"""What every test gets: asyncio without leaks, two CAs, and both versions of TLS."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import os
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from hypothesis import settings
from OpenSSL import SSL

from siptls.testing import CertificateAuthority
from siptls.wire import tls

# No timed tests: a slow machine makes no property false.
settings.register_profile("quick", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, and fail it if it leaves anything behind."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    run_clean(pyfuncitem.obj(**arguments))
    return True


def run_clean(test: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine; no task may be left, and no exception that nobody has seen."""
    complaints: list[dict[str, Any]] = []

    async def run() -> set[asyncio.Task[Any]]:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = math.inf  # a slow machine is no reason to log anything
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        await test
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    with asyncio.Runner(debug=True) as runner:
        left = runner.run(run())
        assert not left, f"tasks are left: {left}"
    gc.collect()
    assert not complaints, complaints


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def tls_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let our own connections speak one version only: each test runs once with each."""
    versions = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
    monkeypatch.setattr(tls, "_OLDEST", versions[request.param])
    monkeypatch.setattr(tls, "_NEWEST", versions[request.param])
    monkeypatch.setattr(tls, "_contexts", WeakKeyDictionary())
    return str(request.param)


@pytest.fixture(scope="session")
def contoso() -> CertificateAuthority:
    """The CA of our own enterprise."""
    return CertificateAuthority("Contoso Enterprise CA")


@pytest.fixture(scope="session")
def fabrikam() -> CertificateAuthority:
    """The CA of a partner."""
    return CertificateAuthority("Fabrikam CA")


@pytest.fixture(scope="session")
def stranger() -> CertificateAuthority:
    """A CA that nobody trusts."""
    return CertificateAuthority("Stranger CA")
