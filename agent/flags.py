"""The flags of each command of the box: its own, and those of the configuration that it heeds."""

import argparse
from collections.abc import Callable

from agent import config


def add(parser: argparse.ArgumentParser, command: str) -> None:
    """All flags of this command."""
    if command in _OWN:
        _OWN[command](parser)
    config.add_options(parser, _OPTIONS_OF.get(command, ("journal",)))


def _run(command: argparse.ArgumentParser) -> None:
    config.add_brokers(command)


def _once(command: argparse.ArgumentParser) -> None:
    command.add_argument("targets_now", nargs="*", metavar="TARGET")
    command.add_argument("--json", action="store_true", help="one JSON object a line")


def _status(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="everything, as JSON")


def _journal(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", nargs="?", metavar="PATH", help="the journal (default: --journal)")
    command.add_argument("--export", action="store_true", help="its rows, one JSON object a line")


def _join(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "invitation",
        metavar="LINE|FILE",
        help="'https://…/join#…', between quotes, or the NAME.swarm that the operator gave you",
    )
    command.add_argument("--yes", action="store_true", help="do not ask")


def _pause(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "how_long", nargs="?", metavar="TIME", help="90s, 30m, 2h or 1d (until resume)"
    )


def _doctor(command: argparse.ArgumentParser) -> None:
    config.add_brokers(command)
    command.add_argument("--json", action="store_true", help="one JSON object")


def _leave(command: argparse.ArgumentParser) -> None:
    config.add_brokers(command)
    add = command.add_argument
    add("--forget", action="store_true", help="have all deleted that this box has measured")
    add("--yes", action="store_true", help="do not ask")
    add("--force", action="store_true", help="remove it all even if no broker can be told")


def _link(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.add_argument("--root", default="/", metavar="DIR", help="read a box's files under DIR")
    command.add_argument("--iface", metavar="NAME", help="judge this interface")
    told = command.add_mutually_exclusive_group()
    told.add_argument("--capture", metavar="FILE", help="record this box, masked, as a .tar.gz")
    told.add_argument("--replay", metavar="FILE", help="judge a recorded box")
    told.add_argument(
        "--write", nargs="?", const="", metavar="PATH", help="by root: leave what only root may ask"
    )


# Of the configuration, what the command heeds; the others only want to know which agent is meant.
_OPTIONS_OF: dict[str, tuple[str, ...] | None] = {
    "run": None,
    "once": ("link", "at", "pages", "allow-private", "deny"),
    "link": ("link", "at", "pages"),
    "join": ("journal", "swarm", "place", "isp"),
    "doctor": None,
    "leave": ("journal", "swarm", "name", "ca", "cert", "key", "mqtt"),
}
_OWN: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _run,
    "once": _once,
    "status": _status,
    "journal": _journal,
    "link": _link,
    "join": _join,
    "pause": _pause,
    "doctor": _doctor,
    "leave": _leave,
}
