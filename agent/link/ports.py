"""Which control device (cdc-wdm0, ttyUSB2) belongs to which interface, as sysfs tells it."""

import os
import re
from typing import NamedTuple

_MOST = 4
_CONTROL = re.compile(r"cdc-wdm\d{1,3}|wwan\d{1,3}(qmi|mbim)\d{1,3}")


class Port(NamedTuple):
    device: str  # "/dev/cdc-wdm0"
    iface: str | None
    driver: str | None  # qmi_wwan, cdc_mbim, huawei_cdc_ncm, …


def control_ports(root: str = "/") -> tuple[Port, ...]:
    """The QMI and MBIM devices; they hang on the same USB interface as the network's."""
    found = []
    for folder in ("sys/class/usbmisc", "sys/class/usb", "sys/class/wwan"):
        for name in _entries(os.path.join(root, folder)):
            if (
                not name.startswith(("cdc-wdm", "wwan"))
                or name.count("wdm") + name.count("mbim") + name.count("qmi") == 0
            ):
                continue
            device = os.path.join(root, folder, name, "device")
            ifaces = [each for each in _entries(os.path.join(device, "net")) if each[:1] != "."]
            driver = _driver(device) or _by_name(name)
            found.append(Port(f"/dev/{name}", ifaces[0] if ifaces else None, driver))
    return tuple(dict.fromkeys(found))[:_MOST]


def _by_name(name: str) -> str | None:
    """The kernel's own modem class names its ports by what is spoken on them."""
    if "mbim" in name:
        return "mhi_wwan_mbim"
    return "qmi_wwan" if "qmi" in name else None


def _driver(device: str) -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(device, "driver")))
    except OSError:
        return None


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
