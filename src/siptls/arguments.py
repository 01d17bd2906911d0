"""Arguments: one sentence for what was passed in and cannot be meant."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable
from typing import Any

from siptls.errors import ConfigurationError

__all__ = [
    "Kind",
    "check_callback",
    "check_count",
    "check_handler",
    "check_list",
    "check_seconds",
    "kind_of",
]


class Kind:
    """An ``attrs`` validator: the value is of a type, and if not, what to write instead is said.

    Args:
        kind: The type.
        instead: What to do, for whoever passed something else.
        optional: None is good, too.
    """

    def __init__(self, kind: type, instead: str, *, optional: bool = False) -> None:
        self._kind = kind
        self._instead = instead
        self._optional = optional

    def __call__(self, owner: Any, attribute: Any, value: Any) -> None:
        """Check one field of a value."""
        self.check(f"{type(owner).__name__}.{attribute.name}", value)

    def check(self, name: str, value: object) -> None:
        """Check an argument.

        Raises:
            ConfigurationError: It is of another type.
        """
        if isinstance(value, self._kind) or (self._optional and value is None):
            return
        wanted = _with_article(self._kind.__name__)
        raise ConfigurationError(f"{name} is {wanted}, not {kind_of(value)}: {self._instead}")


def kind_of(value: object) -> str:
    """Name a value's type for a message. Its text may be long, or secret."""
    return "None" if value is None else _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def check_seconds(name: str, value: Any) -> None:
    """Check a time that is waited for.

    Raises:
        ConfigurationError: It is no positive number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} is a positive number of seconds, not {value!r}")


def check_count(name: str, value: Any) -> None:
    """Check how many there may be of something.

    Raises:
        ConfigurationError: It is no positive whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ConfigurationError(f"{name} is a positive whole number, not {value!r}")


def check_list(name: str, value: object) -> None:
    """Check what is taken one by one; whether the items are good is another question.

    Raises:
        ConfigurationError: It has no items.
    """
    if not isinstance(value, Iterable):
        raise ConfigurationError(f"{name} are a list, not {kind_of(value)}")


def check_handler(handler: object) -> None:
    """Check what is called, and awaited, for each connection; None is no fault.

    Raises:
        ConfigurationError: It cannot be called at all.
    """
    if handler is not None and not callable(handler):
        raise ConfigurationError(
            f"a handler is a coroutine function (async def handler(connection)), not"
            f" {kind_of(handler)}"
        )


def check_callback(name: str, callback: object) -> None:
    """Check what is called without being awaited; None is no fault.

    Raises:
        ConfigurationError: It is a coroutine function, or cannot be called at all.
    """
    if callback is None:
        return
    if not callable(callback):
        raise ConfigurationError(f"{name}= is a plain function, not {kind_of(callback)}")
    if _is_asynchronous(callback):
        raise ConfigurationError(
            f"{name}= is a plain function, and this is a coroutine function: nobody would await it"
        )


def _is_asynchronous(function: object) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  its method is wanted
    )
