"""A policy as a file: what an operator may write instead of Python.

`load_policy` reads a TOML file into the same values that an application would build, and reports
everything that is wrong with it at once. `dump_policy` writes such values back. What stands in the
file is data: whatever a policy of your own does beyond it is Python.

The tables are in ``policytables.py``, the way from them to a policy in ``policyreading.py``, and
the way back in ``policywriting.py``.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from siptls import pem
from siptls.errors import ConfigurationError
from siptls.policyreading import PolicyReader
from siptls.policywriting import not_expressible, written
from siptls.trust.policy import TrustPolicy

__all__ = ["dump_policy", "load_policy"]


def load_policy(path: str | os.PathLike[str]) -> TrustPolicy:
    """Read a policy from a TOML file.

    Args:
        path: The file. The PEM files that it names are looked for beside it.

    Returns:
        ``(Enterprise & TrustedServers | Federation) & Blocked``, of which each part is there if the
        file has it.

    Raises:
        ConfigurationError: The file cannot be read, or is faulty. Its text, and ``faults``, have
            every fault with its key.
    """
    file = os.fspath(path)
    name, data = pem.read(file)
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    # No UTF-8, no TOML, or more digits or levels than Python reads.
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is no TOML file: {error}") from error
    reader = PolicyReader(Path(file).parent)
    policy = reader.policy(tables)
    if policy is None:
        raise _faulty(name, reader.faults)
    return policy


def dump_policy(policy: TrustPolicy) -> str:
    """Write a policy as the text of a TOML file, its CAs included.

    Args:
        policy: One that a file can have: an `Enterprise`, with or without `TrustedServers`, a
            `Federation`, or both joined by ``|``; and `Blocked` around all of it.

    Returns:
        Text from which `load_policy` makes an equal policy.

    Raises:
        ConfigurationError: It has a part that a file cannot have, or `load_policy` would find a
            fault in the text.
    """
    text = written(policy)
    # What is promised is what is tried: no text is given that would be read as something else.
    reader = PolicyReader(Path())
    again = reader.policy(tomllib.loads(text))
    if again is None:
        raise _faulty("what would be written", reader.faults)
    if again != policy:
        raise not_expressible(policy)
    return text


def _faulty(name: str, faults: list[str]) -> ConfigurationError:
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    error = ConfigurationError("\n  ".join([f"{name} has {count}:", *faults]))
    error.faults = tuple(faults)
    return error
