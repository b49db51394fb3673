"""The command line of the indexer: each command is thin, bad input is one line and exit 2."""

import argparse
import contextlib
import difflib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module

from agent import wire
from indexer import config, typed
from indexer.elastic.address import is_engine
from indexer.flags import COMMANDS, parse
from indexer.store import StoreDown, StoreRefused
from indexer.stores import SOURCE, open_store, with_prefix
from indexer.typed import BadInput

OF_ENGINES = ("elasticsearch", "elastic_transport", "opensearchpy")

_NO_PARQUET = (
    "Parquet wants pyarrow, which is not installed: pip has it, Debian has no package of it; "
    "--format csv and ndjson want nothing"
)

Work = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 when the store is down, 2 for bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = parse(_with_command(words))
        if flags.command == "run" and words[0] != "run":
            _check_first_word(flags.brokers)
        return _WORK[flags.command](flags)
    except (BadInput, config.ConfigError, StoreRefused, wire.WireError) as error:
        return _said(str(error), 2)
    except StoreDown as error:
        return _said(f"the store takes nothing now: {error}", 1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("agent", "indexer"):
            raise
        if package == "pyarrow":
            return _said(_NO_PARQUET, 2)
        extra = "elastic" if package in OF_ENGINES else "indexer"
        return _said(f"{error.name} is not installed; it comes with pip install '.[{extra}]'", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _said(line: str, code: int) -> int:
    print(f"swarming-indexer: {' '.join(line.split())}", file=sys.stderr)
    return code


def _with_command(words: list[str]) -> list[str]:
    """`run` may be left out; a misspelt command is not taken for a broker."""
    first = words[0] if words else "--help"
    if first in COMMANDS or first in ("-h", "--help", "--version"):
        return words or ["--help"]
    close = difflib.get_close_matches(first, COMMANDS, 1, cutoff=0.7)
    if close:
        raise BadInput(f"no such command: {first} (did you mean {close[0]}?)")
    return ["run", *words]


def _check_first_word(brokers: Sequence[str]) -> None:
    """Of the short form, which people type: a lone word that is neither command nor host. What
    runs as a service says `run`, and waits for a network that is down."""
    from indexer.run_command import is_no_host

    if len(brokers) == 1 and is_no_host(brokers[0]):
        told = " ".join(COMMANDS)
        raise BadInput(f"{brokers[0]}: no such command, and no such host; there are: {told}")


# --- the commands -------------------------------------------------------------------------------


def _verdict(flags: argparse.Namespace) -> int:
    from indexer import verdict
    from indexer.leader import of_members
    from indexer.learnt import Learnt

    if flags.agent is not None:
        wire.check_name(flags.agent)
    store = typed.existing(_store_of(flags), look=True)
    now_ms = _now_ms()
    results = store.results(now_ms - verdict.HORIZON_MS, now_ms + 1)
    results, records = of_members(results, store.agents(), now_ms)
    picture = verdict.Picture(results, records, now_ms, Learnt(store).before(now_ms))
    if flags.agent is not None and flags.agent not in picture.agents:
        raise BadInput(f"nothing is known of an agent {flags.agent}")
    target = typed.known_target(flags.target, store, picture.targets)
    answer = verdict.judge(picture, target, flags.agent)
    if flags.json:
        whole = verdict.as_json(answer) | {"time": wire.rfc3339(now_ms)}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        print(verdict.text(answer))
    store.close()
    return 0


def _export(flags: argparse.Namespace) -> int:
    from indexer.export import export

    typed.check_not_store(flags.out, flags.store)
    form = flags.format or typed.format_of(flags.out)
    if form == "parquet" and flags.out == "-":
        raise BadInput("Parquet needs a file: --out FILE")
    now_ms = _now_ms()
    since_ms, until_ms = _range(flags, now_ms, 0, now_ms)
    store = typed.existing(_store_of(flags), look=True)
    progress = sys.stderr.isatty() and not flags.quiet
    try:
        rows = export(
            store,
            flags.out,
            form,
            since_ms,
            until_ms,
            agent=flags.agent,
            target=flags.target,
            progress=progress,
        )
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise BadInput(f"{flags.out}: {error.strerror or error}") from error
    if not flags.quiet:
        print(f"{rows} results", file=sys.stderr)
    store.close()
    return 0


def _replay(flags: argparse.Namespace) -> int:
    from indexer.replay import every, replay

    store = typed.existing(_store_of(flags))
    done = replay(store, _now_ms(), flags.classic)
    print(f"{done.letters} dead letters: {done.read} read now, {done.results} new results")
    if flags.list:
        for letter in every(store):
            print(f"{wire.rfc3339(letter.at_ms)}  {letter.topic}  {letter.reason}")
    store.close()
    return 0


def _copy(flags: argparse.Namespace) -> int:
    from indexer.copy import ALWAYS_MS, Copy, note_of
    from indexer.copy_shown import Shown

    begin, to = typed.two_stores(flags.begin, flags.to, flags.index_prefix)
    since_ms, until_ms = _range(flags, _now_ms(), *ALWAYS_MS)
    shown = Shown(bars=sys.stderr.isatty() and not flags.quiet, quiet=flags.quiet)
    note = note_of(typed.in_full(begin), flags.since, flags.until)
    if typed.is_old_swarm(begin):
        from indexer.old_swarm import OldSwarm

        with contextlib.closing(OldSwarm(begin)) as old:
            with contextlib.closing(open_store(to)) as store:
                done = Copy(store, note, shown).old_swarm(old, since_ms, until_ms)
            lines = [done.results_line(), *old.lines()]
    else:
        there = typed.existing(begin, "--from", look=True, secrets=SOURCE)
        with contextlib.closing(there) as source:
            with contextlib.closing(open_store(to)) as store:
                done = Copy(store, note, shown).everything(source, since_ms, until_ms)
            lines = [done.results_line(), done.beside_line()]
    for line in () if flags.quiet else [*lines, done.rollups_line()]:
        print(line)
    return 0


def _backup(flags: argparse.Namespace) -> int:
    if is_engine(flags.store):
        raise BadInput(
            "an engine is backed up by its own snapshots, or by swarming-indexer copy "
            "--from … --to sqlite:FILE"
        )
    store = typed.existing(flags.store)
    typed.check_not_store(flags.file, flags.store)
    typed.check_may_be_made(flags.file, flags.force)
    try:
        store.backup(flags.file)
    except OSError as error:
        raise BadInput(f"{flags.file}: {error.strerror or error}") from error
    print(f"a whole copy is at {flags.file}")
    store.close()
    return 0


def _in_room(name: str) -> Work:
    """The work of a command that has a room of its own, which is loaded when it is asked for."""

    def work(flags: argparse.Namespace) -> int:
        return int(import_module(name).run(flags))

    return work


_WORK: dict[str, Work] = {
    "run": _in_room("indexer.run_command"),
    "verdict": _verdict,
    "export": _export,
    "replay": _replay,
    "backup": _backup,
    "copy": _copy,
    "dashboards": _in_room("indexer.dashboards.command"),
    "ca": _in_room("indexer.ca.command"),
    "invite": _in_room("indexer.ca.invite_command"),
    "auth": _in_room("indexer.web.auth"),
}


def _store_of(flags: argparse.Namespace) -> str:
    return with_prefix(flags.store, flags.index_prefix)


def _range(flags: argparse.Namespace, now_ms: int, since_ms: int, until_ms: int) -> tuple[int, int]:
    """--since and --until, or what is given here."""
    return (
        since_ms if flags.since is None else typed.moment_ms(flags.since, now_ms),
        until_ms if flags.until is None else typed.moment_ms(flags.until, now_ms),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main())
