"""A box in a file: ``swarming-agent link --capture`` records all that a guess is made of.

The file is a tar of ``box.json`` (what was asked, and answered) and of ``root/…``, the few files
of /proc and /sys that are read. Whatever tells who somebody is has been masked (see ``mask``).
"""

import contextlib
import io
import json
import os
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from agent.link import root_file, sysfs
from agent.link.http import Getter, Reply
from agent.link.mask import Mask
from agent.link.replay import BOX, is_inside
from agent.link.sources import Ways, ask

_SHORT = 4096
_OF_INTERFACE = ("type", "uevent", "ifindex", "iflink", "operstate", "tun_flags")
_OF_BOND = ("bonding/active_slave", "bonding/slaves")
_MARKS = ("wireless", "phy80211", "bridge", "brport")  # that they are there says it all
_CONTROL = ("usbmisc", "usb", "wwan")


class Recorder:
    """Ways to ask a box that remember what it answered."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self.helpers: dict[tuple[str, ...], str] = {}
        self.pages: list[dict[str, Any]] = []
        self.serial: dict[str, str] = {}

    def ways(self) -> Ways:
        page, serial = self._ways.page, self._ways.serial
        return self._ways._replace(
            run=self._run,
            page=None if page is None else lambda gateway: self._page(gateway, page(gateway)),
            serial=None if serial is None else lambda port: self._ask(port, serial),
        )

    def _run(self, command: Sequence[str]) -> str | None:
        printed = self._ways.run(command)
        if printed is not None:
            self.helpers[tuple(command)] = printed
        return printed

    def _page(self, gateway: str, get: Getter) -> Getter:
        def recorded(path: str, headers: Mapping[str, str]) -> Reply | None:
            reply = get(path, headers)
            if reply is not None:
                self.pages.append({"gateway": gateway, "path": path, **reply._asdict()})
            return reply

        return recorded

    def _ask(self, port: str, serial: Callable[[str], str | None]) -> str | None:
        said = serial(port)
        if said is not None:
            self.serial[port] = said
        return said


def record(path: str, ways: Ways, root: str = "/") -> None:
    """Asks the box everything, and writes it masked; OSError when the file cannot be written."""
    recorder, mask = Recorder(ways), Mask()
    ask(recorder.ways(), root)
    said = {
        "v": 1,
        "helpers": [[list(asked), printed] for asked, printed in recorder.helpers.items()],
        "pages": recorder.pages,
        "serial": list(map(list, recorder.serial.items())),
        "any_page": ways.any_page,
    }
    files: dict[str, bytes | str] = {BOX: json.dumps(_masked(said, mask), indent=1).encode()}
    for name, content in _files(root, mask):
        inside = "root/" + mask.text(name)
        if is_inside(inside):  # an interface may be called anything
            files[inside] = content
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            if isinstance(content, str):
                _add_link(archive, name, content)
            else:
                _add_file(archive, name, content)


def _masked(value: Any, mask: Mask) -> Any:
    """Each text by itself: what JSON would do to its line ends is no business of the mask."""
    if isinstance(value, str):
        return mask.text(value)
    if isinstance(value, dict):
        return {key: _masked(each, mask) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, mask) for each in value]
    return value


def _add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    archive.addfile(member)


def _files(root: str, mask: Mask) -> Iterator[tuple[str, bytes | str]]:
    """What the readers read, as files (bytes) and links (text), masked."""
    for name in sysfs.interfaces(root):
        yield from _interface(root, f"sys/class/net/{name}", mask)
    for kind in _CONTROL:
        for name in _entries(root, f"sys/class/{kind}"):
            yield from _control_device(root, f"sys/class/{kind}/{name}/device")
    routes = _read(root, "proc/net/route", 1024 * 1024)
    if routes is not None:
        yield "proc/net/route", "".join(_routes4(routes, mask)).encode()
    routes = _read(root, "proc/net/ipv6_route", 1024 * 1024)
    if routes is not None:
        yield "proc/net/ipv6_route", "".join(_routes6(routes, mask)).encode()
    for path in ("proc/net/wireless", root_file.PATH.lstrip("/")):
        text = _read(root, path, 64 * 1024)
        if text is not None:
            yield path, mask.text(text).encode()


def _interface(root: str, path: str, mask: Mask) -> Iterator[tuple[str, bytes | str]]:
    """Without its address; its device is brought near, for the tree above it is not needed."""
    for name in (*_OF_INTERFACE, *_OF_BOND):
        text = _read(root, f"{path}/{name}", _SHORT)
        if text is not None:
            yield f"{path}/{name}", mask.text(text).encode()
    for name in _entries(root, path):
        if name in _MARKS or name.startswith("lower_"):
            yield f"{path}/{name}", b""
    for name in _entries(root, f"{path}/brif"):
        yield f"{path}/brif/{name}", b""
    device = f"{path}/device"
    if not os.path.exists(os.path.join(root, device)):
        return
    yield f"{device}/uevent", mask.text(_read(root, f"{device}/uevent", _SHORT) or "").encode()
    for name in ("driver", "subsystem"):
        with contextlib.suppress(OSError):
            target = os.path.basename(os.readlink(os.path.join(root, device, name)))
            yield f"{device}/{name}", target
    yield from _usb(os.path.realpath(os.path.join(root, device)), device)


def _usb(folder: str, device: str) -> Iterator[tuple[str, bytes]]:
    for _ in range(4):
        found = {name: _read(folder, name, 64) for name in ("idVendor", "idProduct")}
        if all(found.values()):
            yield from ((f"{device}/{name}", (text or "").encode()) for name, text in found.items())
            return
        folder = os.path.dirname(folder)


def _control_device(root: str, device: str) -> Iterator[tuple[str, bytes | str]]:
    with contextlib.suppress(OSError):
        target = os.path.basename(os.readlink(os.path.join(root, device, "driver")))
        yield f"{device}/driver", target
    for name in _entries(root, f"{device}/net"):
        yield f"{device}/net/{name}", b""


def _routes4(text: str, mask: Mask) -> Iterator[str]:
    """With other addresses, in the kernel's hexadecimal."""
    for line in text.splitlines():
        fields = line.split()
        for at in (1, 2):
            with contextlib.suppress(IndexError, ValueError, struct.error):
                address = IPv4Address(struct.pack("=I", int(fields[at], 16)))
                fields[at] = f"{struct.unpack('=I', mask.ipv4(address).packed)[0]:08X}"
        yield mask.text("\t".join(fields)) + "\n"


def _routes6(text: str, mask: Mask) -> Iterator[str]:
    for line in text.splitlines():
        fields = line.split()
        for at in (0, 2, 4):
            with contextlib.suppress(IndexError, ValueError):
                address = IPv6Address(bytes.fromhex(fields[at]))
                whole = at == 0 and int(fields[1], 16) <= 3  # ::/0, 2000::/3
                fields[at] = (address if whole else mask.ipv6(address)).packed.hex()
        yield mask.text(" ".join(fields)) + "\n"


def _read(root: str, path: str, limit: int) -> str | None:
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            return file.read(limit)
    except OSError:
        return None


def _entries(root: str, path: str) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(root, path)))
    except OSError:
        return []
