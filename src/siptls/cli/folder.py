"""A folder of documents that is written whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from attrs import field, frozen

from siptls.errors import ConfigurationError

__all__ = ["Document", "write_folder", "write_new"]

_PRIVATE, _PUBLIC, _FOLDER = 0o600, 0o644, 0o700


@frozen
class Document:
    """A file to be written.

    Attributes:
        name: Its name in the folder; with a ``/`` that of a file in a folder below.
        content: Its bytes.
        about: What it is for, in a few words.
        is_secret: Nobody but its owner may read it.
    """

    name: str
    content: bytes = field(repr=False)
    about: str
    is_secret: bool = False


def write_folder(folder: Path, documents: Iterable[Document]) -> None:
    """Write documents into a folder that is new, or empty; only its owner may look into it.

    If one of them cannot be written, those before it are gone again, and so is the folder if it
    was new.

    Args:
        folder: Where. The folder that it stands in has to be there.
        documents: What.

    Raises:
        ConfigurationError: The folder has something in it already, or cannot be written.
    """
    made: list[Path] = []
    try:
        _begin(folder, made)
        for one in documents:
            path = folder / one.name
            if not path.parent.exists():
                path.parent.mkdir(mode=_FOLDER)
                made.append(path.parent)
            _write(path, one, made)
    except BaseException as error:  # Ctrl-C, too, leaves nothing behind
        for path in reversed(made):
            with contextlib.suppress(OSError):  # of the two errors the first is to be told
                path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            raise _cannot_write(folder, error) from error
        raise


def write_new(path: Path, document: Document) -> None:
    """Write one document where there is no file yet.

    Raises:
        ConfigurationError: There is one, or it cannot be written.
    """
    made: list[Path] = []
    try:
        _write(path, document, made)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{str(path)!r} is there already, and is left as it is: say another file with --out"
        ) from error
    except BaseException as error:
        for half in made:
            with contextlib.suppress(OSError):
                half.unlink()
        if isinstance(error, OSError):
            raise _cannot_write(path, error) from error
        raise


def _begin(folder: Path, made: list[Path]) -> None:
    try:
        folder.mkdir(mode=_FOLDER)
    except FileExistsError:
        if not folder.is_dir() or any(folder.iterdir()):
            what = "has something in it" if folder.is_dir() else "is no folder"
            raise ConfigurationError(
                f"{str(folder)!r} {what}: name a folder that is new, or empty"
            ) from None
        folder.chmod(_FOLDER)
    else:
        made.append(folder)


def _write(path: Path, document: Document, made: list[Path]) -> None:
    mode = _PRIVATE if document.is_secret else _PUBLIC
    # O_EXCL: never into a file, or through a link, that another has put there meanwhile.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    made.append(path)
    with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor has no path
        file.write(document.content)


def _cannot_write(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot write {str(path)!r}: {error.strerror or error}; is there such a place, may you"
        " write there, and is there room?"
    )
