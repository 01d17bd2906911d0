"""The code blocks of the README and of the docs do what the pages say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pages
import pytest
from pages import (
    EXEMPT,
    ROOT,
    RULES,
    all_pages,
    exemption_of,
    is_what,
    read_blocks,
    rule_of,
    run_page,
)

PAGES = [page for page in all_pages() if read_blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_rule_covers_every_block(page: Path) -> None:
    for block in read_blocks(page):
        covered = (rule_of(block) is not None) + (exemption_of(block) is not None)
        assert covered == 1, (
            f"{block.where}: {'an exemption that is not needed' if covered else 'no rule covers'}"
            f" this block: {block.language} {block.first!r}; see docs/writing-docs.md"
        )


def test_no_exemption_is_left_over() -> None:
    used = {exemption_of(block) for page in PAGES for block in read_blocks(page)}
    assert used - {None} == set(EXEMPT)
    assert all(EXEMPT.values())


@pytest.fixture(scope="session")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[list[str]]]]:
    """Begin to run all pages that are asked for; most of them wait for their programs."""
    wanted = [
        item.callspec.params["page"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == test_the_blocks_of_a_page_run.__name__
    ]
    with ThreadPoolExecutor(3) as pool:
        yield {
            page: pool.submit(run_page, page, tmp_path_factory.mktemp("page")) for page in wanted
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path, runs: dict[Path, Future[list[str]]]) -> None:
    left_out = runs[page].result()
    if left_out:
        pytest.skip(f"all but these blocks ran: {', '.join(left_out)}")


# ---------------------------------------------------------------- the rules can be broken


def run(folder: Path, page: str) -> list[str]:
    """Run a page that a test has written."""
    (folder / "page.md").write_text(page, encoding="utf-8")
    (folder / "here").mkdir()
    return run_page(folder / "page.md", folder / "here", folder)


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```python\n# a.py\nraise SystemExit('no')\n```", r"page\.md:1: no"),
        ("```python\n# a.py\nprint(1)\n```\nprints\n```text\n2\n```", r"page\.md:6: .* shows"),
        ("```python\n# a.py\nimport warnings\nwarnings.warn('w')\n```", "UserWarning: w"),
        ("```python\n# test_a.py\ndef test_a():\n    assert 0\n```", "1 failed"),
        ("```python\n# test_a.py\ndef tset_a():\n    pass\n```", "no tests ran"),
        ("```python\n>>> 1 + 1\n3\n```", "Expected"),
        ("```toml\n# a.toml\nblocked = 1\n```", "no error is shown"),
        ("```toml\n# a.toml\nblocked = 1\n```\n```text\na.toml is good\n```", "the page shows"),
        ("```console\n$ cat nothing\n```", "No such file"),
        ("```console\n$ echo one\ntwo\n```", "the page shows"),
        ("```console\n$ make nothing\n```", "no target nothing"),
        ("```console\n$ pip install 'siptls[nothing]'\n```", "no extra"),
        ("```console\n$ pip install nothing\n```", "in no group"),
        ("```sh\nif\n```", "syntax error"),
        ("```json\n{\n```", "Expecting property name"),
        ("```python\n# a.py\nasync def a():\n    serve_forever()\n```", "a.py"),
    ],
)
def test_what_is_wrong_on_a_page_is_told(page: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ValueError), match=complaint):
        run(tmp_path, page)


def test_a_block_that_is_not_closed_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:2: the block does not end"):
        run(tmp_path, "text\n```python\n# a.py\n")


@pytest.mark.parametrize(
    "block", ["```python\nprint(1)\n```", "```\nplain\n```", "```console\n$ shutdown now\n```"]
)
def test_a_block_without_a_rule_is_seen(block: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(block, encoding="utf-8")
    [found] = read_blocks(tmp_path / "page.md", tmp_path)
    assert rule_of(found) is None


def test_a_page_runs_in_order_with_its_servers(tmp_path: Path) -> None:
    page = """
```python
# server.py
import socket

with socket.create_server(("127.0.0.1", 5061)) as sock:
    print("listening", flush=True)

    def serve_forever():
        while True:
            with sock.accept()[0] as client:
                print("got", client.recv(9), flush=True)
                client.sendall(b"!")

    serve_forever()
```
```text
listening
got b'hello'
```

1. in a list:

   ```python
   # client.py
   import socket
   with socket.create_connection(("127.0.0.1", 5061)) as sock:
       sock.sendall(b"hello")
       print(sock.getpeername(), sock.recv(9))
   ```
   ```text
   ('127.0.0.1', 5061) b'!'
   ```

```console
$ ls *.py
client.py
server.py
$ test -f nothing; echo $?
1
```
"""
    assert run(tmp_path, page) == []


def test_what_needs_a_module_that_is_absent_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pages._OPTIONAL, "absent", "absent")
    page = "```python\n# a.py\nimport absent\n```\n```text\nprinted\n```\n"
    assert run(tmp_path, page) == ["page.md:1 needs absent", "page.md:5 needs absent"]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("serial 5e64956f…, ok", "serial 09bd3f3d…, ok", True),
        ("at 2026-11-25T07:41:35+00:00", "at 2027-01-02T03:04:05.678+00:00", True),
        ("at 127.0.0.1 port 5061", "at 127.0.0.1 port 40112", True),
        ("one\n…\nfour", "one\ntwo\nthree\nfour", True),
        ("refused: … is unknown", "refused: a CA is unknown", True),
        ("one", "one\ntwo", False),
        ("one\ntwo", "two\none", False),
        ("accepted", "refused", False),
        ("a.c", "abc", False),
    ],
)
def test_only_what_changes_in_each_run_may_differ(shown: str, printed: str, same: bool) -> None:
    assert is_what(shown, printed) is same


# ---------------------------------------------------------------- what authors are told


def test_authors_are_told_every_rule() -> None:
    """Each row of the table on the page is a rule, in the same order."""
    page = (ROOT / "docs" / "writing-docs.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| [^|]+ \| ([^|]+) \| [^|]+ \|$", page)
    assert rows[1:] == [rule.what.partition(":")[0] for rule in RULES]
