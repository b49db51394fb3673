"""``swarming-agent link``: the guess with its reasons, a recording of the box, or root's file."""

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator

from agent import link, linkguess
from agent.config import Config, ConfigError
from agent.link import Ways, root_file
from agent.linkguess import Link


def run(options: argparse.Namespace, config: Config) -> int:
    """0 also when the link is unknown; ConfigError when a file cannot be read or written."""
    ways = link.own_ways(config.at, config.pages)
    if options.root != "/":
        ways = ways._replace(page=None, ports=())  # another box's gateway and modem are not ours
    if options.write is not None:
        return _write(ways, options.write or root_file.PATH)
    if options.capture is not None:
        return _capture(ways, options.capture, options.root)
    with _box(options.replay, options.root, ways) as (root, asked):
        guess = linkguess.guess(link.gather(root, asked), config.link, options.iface)
    print(json.dumps(guess.as_json()) if options.json else text(guess))
    return 0


def text(guess: Link) -> str:
    """For a person: the guess, its reasons, and what was measured."""
    if guess.iface is None and not guess.stated:
        lines = [f"{guess.type}: there is no default route"]
    else:
        lines = [f"{guess.type} by {guess.iface}, confidence {guess.confidence:.2f}"]
    lines += [f"  {reason}" for reason in guess.evidence if reason not in lines[0]]
    if guess.signal:
        lines.append("  " + ", ".join(f"{name} {value:g}" for name, value in guess.signal.items()))
    if guess.operator is not None:
        lines.append(f"  operator {guess.operator}" + (", roaming" if guess.roaming else ""))
    return "\n".join(lines)


def _write(ways: Ways, path: str) -> int:
    """For an agent that is not root."""
    if os.geteuid() != 0:
        raise ConfigError("link --write: only root's word is believed; run it as root")
    said = link.ask(ways).modems
    own = [modem for name, modems in said.items() if name != link.ROOT_FILE for modem in modems]
    try:
        root_file.write(own, path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return 0


def _capture(ways: Ways, path: str, root: str) -> int:
    from agent.link import capture  # tarfile is dear

    try:
        capture.record(path, ways, root)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    print(f"{path}: this box, its numbers, names and addresses masked; look before you share it")
    return 0


@contextlib.contextmanager
def _box(replay: str | None, root: str, ways: Ways) -> Iterator[tuple[str, Ways]]:
    """The root and the ways of this box, or of a recorded one."""
    if replay is None:
        yield root, ways
        return
    from agent.link import replay as recording

    with tempfile.TemporaryDirectory(prefix="swarming-") as folder:
        try:
            recorded = recording.unpack(replay, folder)
        except recording.CaptureError as error:
            raise ConfigError(str(error)) from error
        yield folder, recorded
