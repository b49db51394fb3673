"""The command line of the box; thin, one function a command."""

import argparse
import contextlib
import difflib
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from agent import clock, config, control, flags, log_lines, once, status, whose
from agent.config import ConfigError
from agent.dial import unknown_words
from agent.notify import Notifier
from agent.store import JournalError
from agent.store_view import ViewError, view

USAGE = 2  # exit status of bad input

log = logging.getLogger("swarming")


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line that suggests what was meant."""

    def error(self, message: str) -> NoReturn:
        for word in re.findall(r"--[a-z-]+", message):
            for close in difflib.get_close_matches(word, self._option_string_actions, 1):
                message += "" if close == word else f" (did you mean {close}?)"
        raise ConfigError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status; bad input is one line on stderr and 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in ("-h", "--help", "--version"):
            _overview().parse_args(words[:1])
        name, *rest = _with_command(words)
        options = _parser(name).parse_intermixed_args(rest)
        if name in _OF_ONES_OWN:
            whose.check(name, options)
        if name != "journal" and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # errors stay where they belong in it
        return _COMMANDS[name][0](options)
    except (ConfigError, JournalError, once.OnceError, status.StatusError, ViewError) as error:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()  # what was said before comes first, into whatever both go
        print(f"swarming-agent: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace) -> int:
    """Probes and publishes until SIGTERM."""
    from agent.swarming_agent import Agent  # the other commands start faster without it

    settings = config.load(options)
    log_lines.begin(settings.log_level)
    if control.read(control.path_beside(settings.journal)).gone:
        log.info("%s", control.has_left(settings.journal))
        Notifier().ready()  # or systemd takes it for a start that failed, and tries for ever
        return 0
    if not settings.brokers and settings.targets is None:
        raise ConfigError(
            "not joined yet: swarming-agent join 'https://…' or NAME.swarm; or name a broker "
            "(host, host:port, mqtt://… or mqtts://…), or --targets; see --help"
        )
    words = [broker.host for broker in settings.brokers]
    threading.Thread(target=_doubt, args=(words,), name="doubt", daemon=True).start()
    return Agent(settings, lambda: config.load(options)).run()


def _doubt(hosts: Sequence[str]) -> None:
    for host in unknown_words(hosts):
        log.warning(
            "%s: no such host is found; if it was meant as a command, there are: %s",
            host,
            " ".join(_COMMANDS),
        )


def probe_once(options: argparse.Namespace) -> int:
    return once.run(options.targets_now, config.load(options), options.json)


def show_status(options: argparse.Namespace) -> int:
    facts = status.ask(_journal_path(options))
    print(json.dumps(facts, indent=2) if options.json else status.text(facts))
    return 0


def show_journal(options: argparse.Namespace) -> int:
    """Counts of the journal, or its rows as NDJSON; safe while the agent runs."""
    path = options.path or _journal_path(options)
    seen = view(path)
    try:
        if options.export:
            for line in seen.export():
                print(line)
            return 0
        counts = seen.counts
    finally:
        seen.close()
    for name, value in counts.lines():
        print(f"{name:10} {value}")
    if counts.strays:
        print("Strays are results that this program cannot read: kept, and not sent.")
    with contextlib.suppress(status.StatusError):
        if silence := status.ask(path).get("about", {}).get("silence"):
            print(f"{'silence':10} {silence}")
    return 0


def show_link(options: argparse.Namespace) -> int:
    from agent import link_command  # with its readers of every modem

    return link_command.run(options, config.load(options))


def join(options: argparse.Namespace) -> int:
    from agent.membership import join_command  # its cryptography is needed once in a box's life

    return join_command.run(options)


def pause(options: argparse.Namespace) -> int:
    return _steer(options, control.Control(paused=True, pause=_pause_of(options.how_long)))


def resume(options: argparse.Namespace) -> int:
    return _steer(options, control.Control(paused=False))


def examine(options: argparse.Namespace) -> int:
    from agent import doctor

    return doctor.run(options, config.load(options))


def leave(options: argparse.Namespace) -> int:
    from agent.membership import leave as leaving  # with its connections

    return leaving.run(options, config.load(options))


def _pause_of(how_long: str | None) -> control.Pause | None:
    """From now on for so long; None: until resume."""
    if how_long is None:
        return None
    try:
        for_s = control.seconds(how_long)
    except ValueError as error:
        raise ConfigError(f"pause: {error}") from error
    boot_ns, wall_ns = clock.now_ns()
    until_ms = wall_ns // clock.NS_PER_MS + round(for_s * 1000)
    return control.Pause(for_s, until_ms, clock.boot_id(), boot_ns / clock.NS_PER_S)


def _steer(options: argparse.Namespace, wish: control.Control) -> int:
    """Leaves the wish beside the journal, and wakes a running agent."""
    journal = _journal_path(options)
    path = control.path_beside(journal)
    if control.read(path).gone:
        raise ConfigError(control.has_left(journal))
    try:
        control.write(path, wish)
    except FileNotFoundError:
        raise ConfigError(
            f"no agent has run here yet: {os.path.dirname(path)}: there is no such folder "
            "(--journal FILE names another)"
        ) from None
    except OSError as error:
        raise ConfigError(f"{journal}: {error.strerror}") from error
    print(control.in_words(wish) or "going on", end="")
    try:
        status.wake(journal)
        print()
    except status.StatusError:
        print(f": no agent runs on {journal}; it will know at its next start")
    except OSError as error:
        raise ConfigError(f"the running agent cannot be told: {error.strerror}") from error
    return 0


def _journal_path(options: argparse.Namespace) -> str:
    return config.load(options).journal


def _with_command(words: list[str]) -> list[str]:
    """``swarming-agent BROKER`` means ``swarming-agent run BROKER``."""
    if words and words[0] in _COMMANDS:
        return words
    if words and not set(words[0]) & set(".:/-"):
        for name in difflib.get_close_matches(words[0], _COMMANDS, 1, 0.75):
            raise ConfigError(f"no command {words[0]!r}: did you mean {name}?")
    return ["run", *words]


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "run": (run, "probe, keep and publish until stopped (the default)"),
    "once": (probe_once, "probe now and print, without a broker; no target: router and provider"),
    "status": (show_status, "ten lines about the running agent"),
    "journal": (show_journal, "what the journal holds; safe while the agent runs"),
    "link": (show_link, "what link this box is on, and why"),
    "join": (join, "join a swarm, by its operator's line or file; shows what will be shared, asks"),
    "doctor": (examine, "what is well, what is not, and what to do about it"),
    "pause": (pause, "probe nothing until resume; what is kept is still published"),
    "resume": (resume, "probe again"),
    "leave": (leave, "tell the swarm goodbye for good, then remove what ties this box to it"),
}
# They would speak of an agent of the user's own, and mean the system's.
_OF_ONES_OWN = ("status", "journal", "join", "pause", "resume", "leave")


def _overview() -> argparse.ArgumentParser:
    """What --help and --version print; no command is parsed here."""
    from agent import VERSION

    width = max(map(len, _COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="swarming-agent",
        usage="swarming-agent [COMMAND] …\n       swarming-agent BROKER [BROKER …] [option …]",
        description="It's just me, or this service is slow? This box pings what its swarm "
        "watches,\nkeeps every result, and hands it to any broker that it can reach.\n\n"
        f"commands:\n{listed}",
        epilog="examples:\n"
        "  swarming-agent localhost                     publish to the broker on this machine\n"
        "  swarming-agent mqtts://broker.example --ca ca.pem --cert me.pem --key me.key\n"
        "  swarming-agent once https://example.org/     measure one target now\n"
        "  swarming-agent COMMAND --help                all options of a command",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def _parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    parser = _Parser(
        prog=f"swarming-agent {name}",
        description=_COMMANDS[name][1],
        epilog="Each option may also stand in the environment (SWARMING_ALLOW_PRIVATE for "
        "--allow-private, SWARMING_BROKERS for the brokers) and in the TOML file of --config "
        "(allow-private, brokers). A flag beats the environment, which beats the file.",
        allow_abbrev=False,
    )
    flags.add(parser, name)
    return parser


if __name__ == "__main__":
    sys.exit(main())
