"""A folder is written whole, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Self

import pytest

from siptls import ConfigurationError
from siptls.cli.folder import Document, write_folder, write_new

OPEN = Document("ca.pem", b"public", "a CA")
SECRET = Document("below/key.pem", b"private", "a key", is_secret=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("is_there", [False, True])
def test_it_is_written_and_only_its_owner_may_look_into_it(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "lab"
    if is_there:
        folder.mkdir(mode=0o755)
    before = os.umask(0)  # what is private is so by itself, and not by the umask
    try:
        write_folder(folder, [OPEN, SECRET])
    finally:
        os.umask(before)
    assert (folder / "ca.pem").read_bytes() == b"public"
    assert (folder / "below" / "key.pem").read_bytes() == b"private"
    assert mode(folder) == mode(folder / "below") == 0o700
    assert mode(folder / "below" / "key.pem") == 0o600
    assert mode(folder / "ca.pem") == 0o644


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigurationError, match="has something in it: name a folder that is new"):
        write_folder(tmp_path, [OPEN])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ConfigurationError, match="is no folder"):
        write_folder(tmp_path / "mine", [OPEN])


@pytest.mark.parametrize("is_there", [False, True])
def test_nothing_half_written_is_left(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "lab"
    if is_there:
        folder.mkdir()
    too_long = Document("x" * 300, b"", "a name that no file can have")
    with pytest.raises(ConfigurationError, match=r"cannot write .* File name too long"):
        write_folder(folder, [OPEN, SECRET, too_long])
    assert list(folder.iterdir() if is_there else tmp_path.iterdir()) == []


def test_nothing_is_left_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def interrupted(path: Path, *how: int) -> int:
        if path.name == "key.pem":
            assert (tmp_path / "lab" / "ca.pem").exists()
            raise KeyboardInterrupt
        return really(path, *how)

    monkeypatch.setattr("siptls.cli.folder.os.open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "lab", [OPEN, SECRET])
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_the_place_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory; is there such a pla"):
        write_folder(tmp_path / "not" / "there", [OPEN])


def test_one_file_is_written_where_there_is_none(tmp_path: Path) -> None:
    write_new(tmp_path / "a.pem", SECRET)
    assert mode(tmp_path / "a.pem") == 0o600
    with pytest.raises(ConfigurationError, match="is there already, and is left as it is"):
        write_new(tmp_path / "a.pem", OPEN)
    assert (tmp_path / "a.pem").read_bytes() == b"private"
    with pytest.raises(ConfigurationError, match=r"cannot write .* No such file"):
        write_new(tmp_path / "not" / "there", OPEN)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Else whoever may write beside it would choose where the key goes."""
    (tmp_path / "a.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="is there already"):
        write_new(tmp_path / "a.pem", SECRET)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_filled_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            os.close(self.descriptor)

        def __init__(self, descriptor: int, _: str) -> None:
            self.descriptor = descriptor

        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("siptls.cli.folder.open", Full, raising=False)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        write_new(tmp_path / "a.pem", SECRET)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        write_folder(tmp_path / "lab", [OPEN])
    assert list(tmp_path.iterdir()) == []
