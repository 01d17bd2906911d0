"""Every code block of the docs runs, or is held to something else: the rules, and who runs them.

The rules for authors stand in `docs/writing-docs.md`; `RULES` below are the same for the machine.
The blocks of a page run in order, in a folder of its own, in which some PEM files lie already. A
block that no rule covers fails `tests/test_pages.py`, with its page and line.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property
from pathlib import Path

from attrs import define, field, frozen
from ports import free_port

from siptls.testing import CertificateAuthority, pem

ROOT = Path(__file__).parent.parent
# Seconds for one block. Each should take a few; a machine may be slow.
TIMEOUT = 50


def all_pages() -> list[Path]:
    """Give every page that a reader may follow; what Sphinx has made of them is none."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    return sorted(page for page in found if "_build" not in page.parts)


# ---------------------------------------------------------------- blocks


@frozen
class Block:
    """A fenced block of a page.

    Attributes:
        page: Where it stands, from the root of the repository.
        line: The line of its fence, from 1.
        language: The first word of the fence's info; empty if there is none.
        text: What stands between the fences.
        before: The block before it on the page.
    """

    page: str
    line: int
    language: str
    text: str
    before: Block | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]

    @cached_property
    def name(self) -> str:
        """The file that it is, as its first line says; empty if that says none."""
        found = re.fullmatch(r"# ([\w./-]+\.\w+)", self.first)
        return found[1] if found else ""


def printer_of(block: Block) -> Block | None:
    """Give the block whose output a block shows; None if it shows none."""
    before = block.before
    if block.language not in {"text", "json"} or block.name or before is None or not before.name:
        return None
    return before if before.language in {"python", "toml"} else None


_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)")


def read_blocks(page: Path, root: Path = ROOT) -> list[Block]:
    """Give the fenced blocks of a page, in order."""
    blocks: list[Block] = []
    opened: re.Match[str] | None = None
    begin, inside = 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence:
                opened, begin, inside = fence, number, []
        elif fence and fence["fence"].startswith(opened["fence"]) and not fence["info"].strip():
            text = "".join(f"{line}\n" for line in inside)
            language = (opened["info"].split() or [""])[0]
            name = str(page.relative_to(root))
            blocks.append(Block(name, begin, language, text, blocks[-1] if blocks else None))
            opened = None
        else:
            inside.append(line.removeprefix(opened["indent"]))
    assert opened is None, f"{page}:{begin}: the block does not end"
    return blocks


# ---------------------------------------------------------------- what is shown and printed

# What is another in each run, and what it becomes on both sides.
_CHANGING = [
    (re.compile(pattern), mark)
    for pattern, mark in (
        (r"\b[0-9a-fA-F]{6,}…", "DIGEST…"),
        (r"\b[0-9a-fA-F]{32,}\b", "DIGEST"),
        (r"\b(?:[0-9A-F]{2}:){7,}[0-9A-F]{2}\b", "DIGEST"),
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?)?", "TIME"),
        (r"\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}(?: GMT)?", "TIME"),
        (r"\bport \d+", "port N"),
        (r"(127\.0\.0\.1|\[::1\])([':, ]+)\d+", r"\1\2N"),
        (r" *\b\d+(?:\.\d+)?(?= ?(?:ms|s|seconds)\b)", " N"),
    )
]


def _unchanging(text: str) -> str:
    for pattern, mark in _CHANGING:
        text = pattern.sub(mark, text)
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines())


def is_what(shown: str, printed: str, *, whole: bool = True) -> bool:
    """Whether that is shown which is printed, but for what is another in each run.

    Args:
        shown: What the page shows. A line with ``…`` alone stands for any lines, ``…`` in a line
            for any text.
        printed: What came.
        whole: False if it may stand anywhere in what came.
    """
    lines = (
        r"(?:.*\n)*?" if line.strip() in {"…", "..."} else re.escape(line).replace("…", ".*") + "\n"
        for line in _unchanging(shown).splitlines()
    )
    pattern = re.compile("^" + "".join(lines), re.MULTILINE)
    text = _unchanging(printed)
    return bool(pattern.fullmatch(text) if whole else pattern.search(text))


# ---------------------------------------------------------------- a page that runs

# What a program may need that is not installed everywhere: by the word that tells of it.
_OPTIONAL = {
    "DNSResolver": "dns",
    **{name: name for name in ("trio", "anyio", "uvloop", "click", "rich", "watchfiles")},
    **{name: name for name in ("prometheus_client", "opentelemetry", "aiosipua")},
}
# What nameservers at port 5353 know.
_DNS: dict[str, list[str] | str | None] = {
    "_sips._tcp.contoso.com SRV": [
        "20 0 5071 sip2.hosting.example.",
        "10 0 5061 sip1.hosting.example.",
    ],
    "sip1.hosting.example AAAA": ["2001:db8::1"],
    "sip1.hosting.example A": ["192.0.2.1"],
    "sip2.hosting.example A": ["192.0.2.2"],
}
# Programs that go on until they are told to end.
_SERVES = re.compile(r"serve_forever\(\)|print\(\"listening\"")
# Lines on which 5061 is a port of this machine.
_LOCAL_PORT = re.compile(r"127\.0\.0\.1|\blocalhost\b|::1|--port |^PORT = ")


@cache
def _files() -> dict[str, bytes]:
    """What lies in the folder from the beginning, of a page that makes no certificates itself."""
    contoso = CertificateAuthority("Contoso CA", seed="docs")
    fabrikam = CertificateAuthority("Fabrikam CA", seed="docs")
    return {
        "contoso-ca.pem": contoso.pem,
        "fabrikam-ca.pem": fabrikam.pem,
        "contoso.pem": pem(contoso.issue("sip:contoso.com")),
        "fabrikam.pem": pem(fabrikam.issue("sip:fabrikam.com")),
        "contoso.crl": contoso.crl(),
    }


@define
class Running:
    """A page that runs.

    Attributes:
        folder: Where its files are.
        left_out: Why some of its blocks could not run here.
        said: What blocks have printed, by their lines, for what is shown below them.
        servers: What those have printed that run until the page ends, by their lines.
        faulty: Policy files with an error that is not shown yet.
        jobs: Servers that were begun with ``&``, until the page ends or says ``kill``.
    """

    folder: Path
    port: int = field(factory=free_port)
    left_out: list[str] = field(factory=list)
    said: dict[int, str] = field(factory=dict)
    servers: dict[int, list[str]] = field(factory=dict)
    faulty: dict[str, str] = field(factory=dict)
    until_its_end: ExitStack = field(factory=ExitStack)
    jobs: ExitStack = field(factory=ExitStack)

    def here(self, text: str) -> str:
        """Put a port that is free in the place of 5061, on lines that are about this machine."""
        lines = text.splitlines(keepends=True)
        return "".join(
            line.replace("5061", str(self.port)) if _LOCAL_PORT.search(line) else line
            for line in lines
        )

    def shown(self, text: str) -> str:
        """Put 5061 back into what was printed."""
        return text.replace(str(self.port), "5061")

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=_environment(),
        )

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def _environment() -> dict[str, str]:
    plain = {"NO_COLOR": "1", "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}
    # Our plugin alone, as an installed siptls brings it: the others take a second to begin.
    plain |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "siptls.testing.plugin"}
    kept = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    return {**kept, **plain}


def run_page(page: Path, folder: Path, root: Path = ROOT) -> list[str]:
    """Run the blocks of a page in order; give why some were left out.

    Raises:
        AssertionError: One of them does not do what the page says of it.
    """
    running = Running(folder)
    blocks = read_blocks(page, root)
    if all(block.name != "certificates.py" for block in blocks):
        for name, content in _files().items():
            (folder / name).write_bytes(content)
    with running.until_its_end, running.jobs:
        for block in blocks:
            rule = rule_of(block)
            if rule is None:  # which a test of its own tells
                continue
            if missing := _missing(block):
                running.left_out.append(f"{block.where} needs {missing}")
                continue
            try:
                rule.run(running, block)
            except AssertionError as error:
                raise AssertionError(f"{block.where}: {error}") from error
            except subprocess.TimeoutExpired as error:
                raise AssertionError(f"{block.where}: it does not end in {TIMEOUT} s") from error
    assert not running.faulty, f"no policy, and no error is shown: {running.faulty}"
    for block in blocks:  # now they have ended
        if (printer := printer_of(block)) and printer.line in running.servers:
            printed = running.shown("".join(running.servers[printer.line]))
            problem = f"{block.where}: {_difference(block.text, printed)}"
            assert is_what(block.text, printed), problem
    return running.left_out


def _missing(block: Block) -> str:
    """Give what a block needs that is not installed; for what is shown of one, what that needs."""
    block = printer_of(block) or block
    if block.language != "python":
        return ""
    for word, module in _OPTIONAL.items():
        if re.search(rf"\b{word}\b", block.text) and importlib.util.find_spec(module) is None:
            return module
    return ""


def _difference(shown: str, printed: str) -> str:
    return f"the page shows\n\n{shown}\nand it prints\n\n{printed}"


# ---------------------------------------------------------------- what is done with a block

_PYTEST = ["pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir=."]


def _run_test(running: Running, block: Block) -> None:
    running.write(block.name, running.here(block.text))
    done = running.run([sys.executable, "-m", *_PYTEST, "-q", "-s", "-W", "error", block.name])
    assert done.returncode == 0, done.stdout + done.stderr
    written = len(re.findall(r"(?m)^ *(?:async )?def test_", block.text))
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= written, done.stdout
    running.said[block.line] = re.sub(r"(?m)^\.+(?=\S)", "", running.shown(done.stdout))


def _run_program(running: Running, block: Block) -> None:
    with _nameserver(block.text) as port:
        text = running.here(block.text).replace("5353", str(port))
        running.write(block.name, text)
        if _SERVES.search(text):
            running.servers[block.line] = running.until_its_end.enter_context(
                _serving(running, [sys.executable, "-W", "error", block.name])
            )
            return
        done = running.run([sys.executable, "-W", "error", block.name])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    running.said[block.line] = running.shown(done.stdout)


@contextmanager
def _serving(running: Running, command: list[str]) -> Iterator[list[str]]:
    """Run a server until the page ends, from when it has said its first line."""
    name = command[-1]
    pipe = subprocess.PIPE
    lines: list[str] = []
    began = threading.Event()
    with subprocess.Popen(
        command, cwd=running.folder, stdout=pipe, stderr=pipe, text=True, env=_environment()
    ) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                began.set()
            began.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert began.wait(TIMEOUT), f"{name} says nothing: have it print that it listens"
            assert lines, f"{name} has ended, and printed nothing"
            yield lines
        finally:
            process.terminate()
            reader.join(TIMEOUT)
            assert process.stderr is not None
            complaints = process.stderr.read()
    assert (process.returncode, complaints) in {(0, ""), (-signal.SIGTERM, "")}, complaints


@contextmanager
def _nameserver(text: str) -> Iterator[int]:
    """Run a nameserver for a program that asks one at port 5353, and give its port."""
    if "5353" not in text:
        yield 0
        return
    from dns_server import saying  # noqa: PLC0415  it skips without dnspython

    ports: list[int] = []
    began = threading.Event()
    loop, end = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with saying(_DNS) as (server, _):
            ports.append(server.port)
            began.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert began.wait(TIMEOUT)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(TIMEOUT)
        loop.close()


def _run_doctest(running: Running, block: Block) -> None:
    path = running.write(f"block-{block.line}.txt", running.here(block.text))
    done = running.run([sys.executable, "-W", "error", "-m", "doctest", path.name])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


_LOAD_POLICY = """
import sys, siptls
try:
    siptls.load_policy(sys.argv[1])
except siptls.ConfigurationError as error:
    print(error)
"""


def _load_policy(running: Running, block: Block) -> None:
    """In a process of its own: which warnings are errors is the same for all threads of one."""
    path = running.write(block.name, block.text)
    done = running.run([sys.executable, "-W", "error", "-c", _LOAD_POLICY, path.name])
    assert done.returncode == 0, done.stderr
    if done.stdout:
        running.said[block.line] = done.stdout
        running.faulty[block.where] = done.stdout


def _load_json(_: Running, block: Block) -> None:
    json.loads(block.text)


def _compare(running: Running, block: Block) -> None:
    printer = printer_of(block)
    assert printer is not None
    running.faulty.pop(printer.where, None)
    if printer.line not in running.servers:  # which have not ended yet
        printed = running.said.get(printer.line, "")
        whole = not printer.name.startswith("test_")
        assert is_what(block.text, printed, whole=whole), _difference(block.text, printed)


def _check_shell(running: Running, block: Block) -> None:
    path = running.write(f"block-{block.line}.sh", block.text)
    done = running.run(["bash", "-n", path.name])
    assert done.returncode == 0, done.stderr


def _check_zone(running: Running, block: Block) -> None:
    if importlib.util.find_spec("dns") is None:
        running.left_out.append(f"{block.where} needs dns")
        return
    from dns.zonefile import read_rrsets  # noqa: PLC0415

    assert read_rrsets(block.text, default_ttl=60)


KAMAILIO = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _check_kamailio(running: Running, block: Block) -> None:
    """Have Kamailio read its configuration, for which the other files must stand before it."""
    path = running.write(
        Path(block.first.removeprefix("# ")).name,
        block.text.replace("/etc/kamailio", str(running.folder)),
    )
    if path.name == "kamailio.cfg":
        if KAMAILIO is None:
            running.left_out.append(f"{block.where} needs kamailio")
            return
        done = running.run([KAMAILIO, "-c", "-f", path.name])
        assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- what is typed into a shell

_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def _is_target(words: list[str]) -> None:
    for target in (word for word in words[1:] if "=" not in word and not word.startswith("-")):
        assert re.search(rf"(?m)^{re.escape(target)}:", _MAKEFILE), f"make has no target {target}"


def _is_requirement(words: list[str]) -> None:
    extras = tomllib.loads(_PYPROJECT)["project"]["optional-dependencies"]
    for word in (word for word in words[2:] if not word.startswith("-")):
        found = re.fullmatch(r"(?P<what>\.|[\w-]+)(?:\[(?P<extras>[\w,-]+)\])?(?:[<>=~!].*)?", word)
        assert found is not None, f"{word} is no requirement"
        if found["what"] in {".", "siptls"}:
            unknown = set(filter(None, (found["extras"] or "").split(","))) - set(extras)
            assert not unknown, f"siptls has no extra {unknown}"
        else:
            assert f'"{found["what"]}' in _PYPROJECT, f"{found['what']} is in no group"


def _is_package(words: list[str]) -> None:
    for word in words[words.index("install") + 1 :]:
        assert re.fullmatch(r"-.*|[a-z0-9][a-z0-9+.-]*", word), f"{word} is no package"


def _is_in_the_clone(words: list[str]) -> None:
    for word in (word for word in words if word.endswith(".py")):
        assert (ROOT / word).is_file(), f"there is no {word}"


# Commands that run, as they stand.
RUN = {
    *("siptls", "python", "python3", "pytest", "openssl", "cat", "ls", "cp", "mv", "rm", "mkdir"),
    *("echo", "printf", "head", "tail", "grep", "diff", "test", "sed", "sort", "wc", "chmod"),
    "kill",
}
# Commands that would change the machine, or take too long: what is looked at instead.
CHECKED: dict[str, Callable[[list[str]], None]] = {
    "make": _is_target,
    "pip": _is_requirement,
    "apt-get": _is_package,
    "git": lambda _: None,  # whoever reads it knows from where
    "cd": lambda _: None,  # into what git has cloned
    # What records the packets of a machine needs root, and packets.
    **dict.fromkeys(("tcpdump", "tshark"), lambda _: None),
    **{f".venv/bin/{tool}": _is_in_the_clone for tool in ("python", "pytest", "ruff", "mypy")},
}
_ALSO_CHECKED = {"sudo"}  # before one of them

_FUNCTIONS = f"""
siptls() {{ {shlex.quote(sys.executable)} -m siptls "$@"; }}
python() {{ {shlex.quote(sys.executable)} "$@"; }}
python3() {{ python "$@"; }}
pytest() {{ python -m {shlex.join(_PYTEST)} "$@"; }}
"""


def commands_of(block: Block) -> list[tuple[str, str]]:
    """Give the commands of a console block, each with what is shown below it."""
    commands: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        elif commands and commands[-1][0].endswith("\\") and not commands[-1][1]:
            commands[-1] = (f"{commands[-1][0]}\n{line.removeprefix('> ')}", "")
        elif commands:
            commands[-1] = (commands[-1][0], f"{commands[-1][1]}{line}\n")
        elif line.strip():
            return []
    return commands


def _begin_example(running: Running, words: list[str]) -> None:
    """Begin a server of ``examples/`` that runs beside what follows on the page."""
    example, *arguments = words[1:]
    command = [sys.executable, "-W", "error", str(ROOT / example), *arguments]
    running.jobs.enter_context(_serving(running, command))


def _words(command: str) -> list[str]:
    words = shlex.split(command, comments=True)
    return words[1:] if words and words[0] in _ALSO_CHECKED else words


def _is_known(block: Block) -> bool:
    heads = [(_words(command) or [""])[0] for command, _ in commands_of(block)]
    return bool(heads) and all(head in RUN or head in CHECKED for head in heads)


def _run_commands(running: Running, block: Block) -> None:
    status = 0
    for command, shown in commands_of(block):
        words = _words(command)
        if words[0] in CHECKED:
            CHECKED[words[0]](words)
            continue
        if words[0] == "kill":
            running.jobs.close()
            continue
        if words[-1] == "&":
            _begin_example(running, _words(running.here(command))[:-1])
            continue
        script = f"{_FUNCTIONS}\n(exit {status})\n{running.here(command)}"
        done = running.run(["bash", "-c", f"exec 2>&1\n{script}"])
        printed = running.shown(done.stdout)
        status = done.returncode
        assert shown.strip() or status == 0, f"$ {command}\n{printed}"
        assert "Traceback (most recent call last)" not in printed, f"$ {command}\n{printed}"
        if shown.strip():
            assert is_what(shown, printed), f"$ {command}\n{_difference(shown, printed)}"


# ---------------------------------------------------------------- the rules


@frozen
class Rule:
    """What holds for some blocks.

    Attributes:
        what: What they are.
        covers: Whether it holds for one.
        run: Has it hold; an AssertionError if it does not.
    """

    what: str
    covers: Callable[[Block], bool]
    run: Callable[[Running, Block], None]


RULES = [
    Rule(
        "a test: pytest runs it",
        lambda block: block.language == "python" and block.name.startswith("test_"),
        _run_test,
    ),
    Rule(
        "a program: it runs, with every warning an error, and writes nothing to stderr; one that"
        " serves forever, or prints that it is listening, runs until the page ends",
        lambda block: block.language == "python" and block.name.endswith(".py"),
        _run_program,
    ),
    Rule(
        "a dialogue with Python: doctest",
        lambda block: block.language in {"python", "pycon"} and block.first.startswith(">>> "),
        _run_doctest,
    ),
    Rule(
        "a policy file: load_policy takes it, or has the error that is shown below",
        lambda block: block.language == "toml" and block.name.endswith(".toml"),
        _load_policy,
    ),
    Rule(
        "what is typed into a shell: it runs, and prints what is shown; or is looked at (CHECKED);"
        " a server of examples/ that ends with & runs until the page ends, or says kill",
        lambda block: block.language == "console" and _is_known(block),
        _run_commands,
    ),
    Rule(
        "what the program, the test or the policy file before it prints",
        lambda block: printer_of(block) is not None,
        _compare,
    ),
    Rule(
        "a file of Kamailio: Kamailio reads it",
        lambda block: block.first.startswith("# /etc/kamailio/"),
        _check_kamailio,
    ),
    Rule("a script: bash reads it", lambda block: block.language == "sh", _check_shell),
    Rule(
        "records of DNS: dnspython reads them", lambda block: block.language == "zone", _check_zone
    ),
    Rule("JSON: it is", lambda block: block.language == "json", _load_json),
    Rule(
        "a directive of Sphinx: `make docs` carries it out",
        lambda block: block.language.startswith("{"),
        lambda _, __: None,
    ),
]

# Blocks that nothing runs, by page and the beginning of the first line: why.
EXEMPT = {
    ("docs/explanation/design.md", "what the peer shows"): "a drawing",
    ("docs/explanation/design.md", "trust/"): (
        "a map of the source: tests/test_docs.py compares the two"
    ),
    ("docs/explanation/trust-model.md", "DNS: where"): "a drawing",
    ("docs/reference/interop.md", "foreground = yes"): (
        "a configuration of stunnel, which would connect: tests/interop/test_sipp.py runs one"
    ),
}


def rule_of(block: Block) -> Rule | None:
    """Give the rule that covers a block; the first one does."""
    return next((rule for rule in RULES if rule.covers(block)), None)


def exemption_of(block: Block) -> tuple[str, str] | None:
    """Give the exemption that a block has, as it stands in the table."""
    first = block.first.strip()
    return next((key for key in EXEMPT if key[0] == block.page and first.startswith(key[1])), None)
