"""What runs a target: guided by coverage, or over given inputs.

A target is a file of this folder with a function ``target(data: bytes) -> None`` that does
something with the bytes, and asserts its laws. Whatever it raises is a find.

::

    python -m fuzz.harness                       # each target in turn, for 60 seconds
    python -m fuzz.harness framer names          # these
    python -m fuzz.harness framer --seconds 600
    python -m fuzz.harness framer FILE...        # these inputs once, without atheris

Under ``fuzz/corpus/<target>/`` are the inputs to begin with, and under ``fuzz/found/<target>/``
those that once broke a law; ``replay`` gives both, and the normal tests run them. A run writes to
``fuzz/runs/<target>/``: what it found to be new, its log, and each input that breaks something.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.utils import CryptographyDeprecationWarning

__all__ = ["TARGETS", "load", "replay"]

FOLDER = Path(__file__).parent
TARGETS = (
    "framer",
    "message",
    "names",
    "policyfile",
    "pemfiles",
    "chains",
    "statuses",
    "connection",
)
# An input of some hundred bytes takes below a millisecond: what takes ten seconds hangs.
HANG = 10
# MiB. A target itself, with all of its keys, stays below 150.
MEMORY = 512
_LENGTH = 1024


def load(name: str) -> Callable[[bytes], None]:
    """Give a target by its name."""
    target: Callable[[bytes], None] = importlib.import_module(f"fuzz.{name}").target
    return target


def replay(name: str) -> Iterator[Path]:
    """Give the inputs of a target: those to begin with, and those that once broke a law."""
    for folder in ("corpus", "found"):
        yield from sorted((FOLDER / folder / name).glob("*"))


# ---------------------------------------------------------------- guided by coverage


def fuzz(name: str, seconds: int) -> None:
    """Run a target under atheris until time is over, or a law is broken. It does not return."""
    import atheris  # noqa: PLC0415  whoever replays inputs needs none

    # The standard library and cryptography are somebody else's: only our own branches guide.
    with atheris.instrument_imports(include=["siptls"]):
        module = importlib.import_module(f"fuzz.{name}")
    runs = FOLDER / "runs" / name
    (runs / "finds").mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={HANG}",
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={getattr(module, 'LENGTH', _LENGTH)}",
        f"-artifact_prefix={runs}{os.sep}",
        "-print_final_stats=1",
    ]
    words = FOLDER / "dictionaries" / f"{name}.dict"
    options += [f"-dict={words}"] if words.exists() else []
    folders = [runs / "finds", *(FOLDER / kind / name for kind in ("corpus", "found"))]
    options += [str(folder) for folder in folders if folder.exists()]
    atheris.Setup([sys.argv[0], *options], module.target)
    atheris.Fuzz()


_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_RATE = re.compile(r"stat::average_exec_per_sec:\s*(\d+)")


def run_all(names: list[str], seconds: int) -> int:
    """Run targets in turn, each in a process of its own, and print a line for each."""
    broken = 0
    for name in names:
        log = FOLDER / "runs" / name / "log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fuzz.harness", name, "--seconds", str(seconds), "--alone"]
        with log.open("w", encoding="utf-8") as file:
            # A target that hangs is ended by libFuzzer; should that hang, too, it ends here.
            process = subprocess.run(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=FOLDER.parent,
                timeout=seconds + 60 * HANG,
                check=False,
            )
        told = log.read_text(encoding="utf-8", errors="replace")
        count, rate = (
            int(found[1]) if (found := one.search(told)) else 0 for one in (_RUNS, _RATE)
        )
        print(f"{name:<12} {count:>10} executions {rate:>8} exec/s", flush=True)
        if process.returncode or not count:
            broken += 1
            print(f"{name} is broken: see {log}, and the input beside it")
    print("a law was broken" if broken else "no law was broken")
    return min(broken, 1)


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.harness")
    parser.add_argument("what", nargs="*", help="targets; or one target, and files for it")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = [one for one in given.what if one in TARGETS]
    files = [Path(one) for one in given.what if one not in TARGETS]
    if absent := [str(file) for file in files if not file.is_file()]:
        parser.error(f"{', '.join(absent)}: neither a target ({', '.join(TARGETS)}) nor a file")
    # Of a serial number below 1, and of a name's length, cryptography warns.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    if files:
        for name in names:
            for file in files:
                load(name)(file.read_bytes())
        return 0
    if given.alone:
        fuzz(names[0], given.seconds)
    return run_all(names or list(TARGETS), given.seconds)


if __name__ == "__main__":
    sys.exit(main())
