"""A recorded box again: ``swarming-agent link --replay`` guesses from what ``capture`` wrote.

The file may come from anybody: what is not plain, small and inside is refused whole, before
anything of it is on the disk.
"""

import contextlib
import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from agent.link.http import Getter, Reply
from agent.link.modem import load, table
from agent.link.sources import Ways

BOX = "box.json"
_MOST_BYTES = 8 * 1024 * 1024
_MOST_MEMBERS = 5000
_MOST_DEPTH = 12
_NAME = re.compile(r"root(?:/[\w.:@+~-]{1,64})+", re.ASCII)
_LINK = re.compile(r"[\w.:@+-]{1,64}", re.ASCII)


class CaptureError(Exception):
    """One line that says what is wrong with the file."""


def unpack(path: str, folder: str) -> Ways:
    """Lays the recorded files under ``folder``; how the recorded box answers. CaptureError."""
    files, links = _members(path)
    said = table(load(files.pop(BOX, b"").decode("utf-8", errors="replace")))
    if said.get("v") != 1:
        raise CaptureError(f"{path}: not a capture that this version can read")
    for name, content in files.items():
        target = os.path.join(folder, name.removeprefix("root/"))
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "xb") as file:
                file.write(content)
        except OSError as error:  # a file where another one has a folder
            raise CaptureError(f"{path}: {name}: {error.strerror}") from error
    for name, link in links.items():
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(os.path.join(folder, name[5:])), exist_ok=True)
            os.symlink(link, os.path.join(folder, name[5:]))
    return _ways(said)


def _members(path: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """Its files and links, each checked; nothing is on the disk yet."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_unzipped(path)), mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isdir():
                    continue
                if (name != BOX and not is_inside(name)) or name in files or name in links:
                    raise CaptureError(f"{path}: {name[:80]!r} does not belong into a capture")
                if member.issym() and name != BOX and _is_word(member.linkname):
                    links[name] = member.linkname
                elif (
                    member.isreg() and not member.issparse()
                ):  # nor of holes that are not in the archive
                    file = archive.extractfile(member)
                    files[name] = file.read() if file is not None else b""
                else:
                    raise CaptureError(f"{path}: {name[:80]!r} is neither a file nor a plain link")
                if len(files) + len(links) > _MOST_MEMBERS:
                    raise CaptureError(f"{path}: more than {_MOST_MEMBERS} files")
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        why = getattr(error, "strerror", None) or "not a capture of link --capture, or cut short"
        raise CaptureError(f"{path}: {why}") from error
    return files, links


def _unzipped(path: str) -> bytes:
    """All of it at once, so that nothing in it can be larger than that."""
    with gzip.open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise CaptureError(f"{path}: larger than {_MOST_BYTES} bytes")
    return content


def is_inside(name: str) -> bool:
    """A name that a capture may have, under ``root``."""
    parts = name.split("/")
    return (
        _NAME.fullmatch(name) is not None
        and len(parts) <= _MOST_DEPTH
        and not any(part.strip(".") == "" for part in parts)
    )


def _is_word(target: str) -> bool:
    """A link that leads nowhere else: its target is only ever read as a name."""
    return _LINK.fullmatch(target) is not None and target.strip(".") != ""


def _ways(said: dict[str, Any]) -> Ways:
    helpers = {
        tuple(map(str, asked)): printed
        for asked, printed in _pairs(said.get("helpers"))
        if isinstance(asked, list) and isinstance(printed, str)
    }
    serial = {
        asked: printed
        for asked, printed in _pairs(said.get("serial"))
        if isinstance(asked, str) and isinstance(printed, str)
    }
    return Ways(
        run=lambda command: helpers.get(tuple(command)),
        page=lambda gateway: _page(said.get("pages"), gateway),
        serial=serial.get,
        ports=tuple(serial),
        any_page=said.get("any_page") is True,
    )


def _pairs(listed: Any) -> Iterator[tuple[Any, Any]]:
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, list) and len(each) == 2:
            yield each[0], each[1]


def _page(listed: Any, gateway: str) -> Getter:
    """The recorded pages of this gateway, one after the other where one was asked for twice."""
    pages = [table(page) for page in (listed if isinstance(listed, list) else ())]
    left = [page for page in pages if page.get("gateway") == gateway]

    def get(path: str, _: Mapping[str, str]) -> Reply | None:
        for page in left:
            if page.get("path") == path and isinstance(page.get("status"), int):
                left.remove(page)
                headers = {
                    str(name): str(value) for name, value in table(page.get("headers")).items()
                }
                return Reply(page["status"], headers, str(page.get("body")))
        return None

    return get
