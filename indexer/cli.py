"""The command line of the indexer: each command is thin, bad input is one line and exit 2."""

import argparse
import contextlib
import difflib
import json
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from agent import wire
from indexer import config, typed, verdict
from indexer.dashboards import command as dashboards
from indexer.elastic.address import is_engine
from indexer.learnt import Learnt
from indexer.store import Store, StoreDown, StoreRefused
from indexer.stores import SOURCE, open_store, with_prefix
from indexer.typed import FORMATS, BadInput

if TYPE_CHECKING:
    from indexer.swarming_indexer import Indexer

COMMANDS = ("run", "verdict", "export", "replay", "backup", "copy", "dashboards")
PREFIX_HELP = "of an engine's indices (swarming)"
FILE_HELP = (
    f"sqlite:FILE (swarming.db in {config.STATE_FOLDER} for root and who may write there, else in "
    "~/.local/state/swarming)"
)
STORE_HELP = (
    f"elasticsearch:URL?api_key=FILE&ca=FILE, opensearch:URL (docs/elasticsearch.md) or {FILE_HELP}"
)
OF_ENGINES = ("elasticsearch", "elastic_transport", "opensearchpy", "orjson")
_STORE_RETRY_S = 2.0
_DOUBT_S = 2.0  # a name server that is slow to say no must not hold the indexer up

T = TypeVar("T")

log = logging.getLogger("swarming.indexer")


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line that suggests what was meant."""

    options: ClassVar[set[str]] = set()  # of the command as well, whichever parser complains

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.options.update(self._option_string_actions)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        for word in re.findall(r"(?<![\w-])--[a-z-]+", message):
            close = difflib.get_close_matches(word, self.options, 1)
            if close and word not in self.options:
                message += f" (did you mean {close[0]}?)"
        raise BadInput(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 when the store is down, 2 for bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = _parser().parse_args(_with_command(words))
        return int(flags.work(flags))
    except (BadInput, config.ConfigError, StoreRefused, wire.WireError) as error:
        return _said(str(error), 2)
    except StoreDown as error:
        return _said(f"the store takes nothing now: {error}", 1)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("agent", "indexer"):
            raise
        extra = "elastic" if package in OF_ENGINES else "indexer"
        return _said(f"it needs its extra (no {error.name}): pip install '.[{extra}]'", 2)
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


# --- the commands -------------------------------------------------------------------------------


def _run(flags: argparse.Namespace) -> int:
    from indexer.page import Page, bind
    from indexer.swarming_indexer import stop_on_signals

    settings = config.from_flags(flags)
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=settings.log_level.upper()
    )
    doubt = threading.Thread(
        target=_doubt, args=([broker.host for broker in settings.brokers],), daemon=True
    )
    doubt.start()
    doubt.join(_DOUBT_S)
    sock = bind(settings.listen) if settings.listen is not None else None
    if settings.store == config.default_store():
        with contextlib.suppress(OSError):  # opening the store will say why
            os.makedirs(os.path.dirname(settings.store.partition(":")[2]), exist_ok=True)
    store, indexer = _patiently(lambda: _begun(settings))
    log.info("the store is %s", settings.store)
    page = None
    if sock is not None:
        from indexer import web

        try:
            page = Page(web.app(store, indexer.desk), sock, settings)
        except ValueError as error:
            raise BadInput(str(error)) from error
        page.start()
        scheme = "https" if settings.page_cert else "http"
        print(f"the page is at {scheme}://{settings.listen}/", flush=True)
    stop_on_signals(indexer)
    code = indexer.run()
    if page is not None:
        page.stop()
    store.close()
    return code


def _doubt(hosts: Sequence[str]) -> None:
    """A bare word that is no host may be a misspelt command: only said, for the network may be
    down at the start."""
    for host in hosts:
        if set(host) & set(".:") or host == "localhost":
            continue
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            log.warning(
                "%s: no such host is found; if it was meant as a command, there are: %s",
                host,
                " ".join(COMMANDS),
            )


def _begun(settings: config.Config) -> "tuple[Store, Indexer]":
    """The store, and an indexer that knows what is in it. StoreDown, StoreRefused."""
    from indexer.swarming_indexer import Indexer

    store = open_store(settings.store)
    try:
        return store, Indexer(settings, store)
    except BaseException:
        store.close()
        raise


def _patiently(work: Callable[[], T]) -> T:
    """Its answer; a store that is down is waited for."""
    told = ""
    while True:
        try:
            return work()
        except StoreDown as error:
            if str(error) != told:
                told = str(error)
                log.error("the store takes nothing: %s; waiting for it", told)
            time.sleep(_STORE_RETRY_S)


def _verdict(flags: argparse.Namespace) -> int:
    if flags.agent is not None:
        wire.check_name(flags.agent)
    store = typed.existing(_store_of(flags), look=True)
    now_ms = _now_ms()
    results = store.results(now_ms - verdict.HORIZON_MS, now_ms + 1)
    usual = Learnt(store).before(now_ms)
    picture = verdict.Picture(results, store.agents(), now_ms, usual)
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


# --- what can be typed --------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="swarming-indexer",
        description="Collects what the agents measure, keeps it, and says who is to blame.",
        epilog="`run` may be left out: swarming-indexer localhost",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _run_flags(commands.add_parser("run", help="collect from these brokers, and serve the page"))
    _verdict_flags(commands.add_parser("verdict", help="me, my ISP, the path, or the service?"))
    _export_flags(commands.add_parser("export", help="results as NDJSON, CSV or Parquet"))
    replay = commands.add_parser("replay", help="read the dead letters again")
    _store_flag(replay)
    replay.add_argument("--classic", action="store_true", help="read the classic payload too")
    replay.add_argument("--list", action="store_true", help="print what still cannot be read")
    replay.set_defaults(work=_replay)
    backup = commands.add_parser("backup", help="a whole copy of the store, while it runs")
    _store_flag(backup, engines=False)
    backup.add_argument("file", metavar="FILE", help="where to put it")
    backup.add_argument("--force", action="store_true", help="write over a file that is there")
    backup.set_defaults(work=_backup)
    _copy_flags(commands.add_parser("copy", help="everything of one store into another"))
    dashboards.add_flags(commands.add_parser("dashboards", help="for Kibana, or its like"))
    return parser


def _run_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Every option can also stand in a TOML file (--config) or in the environment "
        "(SWARMING_INDEXER_KEEP=30)."
    )
    add = parser.add_argument
    add("brokers", metavar="BROKER", nargs="*", help="host, host:port, mqtt://… or mqtts://…")
    add("--store", metavar="STORE", help=f"where results are kept: {STORE_HELP}")
    add("--index-prefix", metavar="NAME", help=PREFIX_HELP)
    add("--listen", metavar="HOST:PORT", help="where the page is; off: no page (127.0.0.1:8080)")
    add("--name", help="of this indexer, begins with indexer- (indexer-HOSTNAME)")
    add("--keep", metavar="DAYS", help="90 or 90d: how long each result is kept (90)")
    add("--share", metavar="GROUP", help="deal the results out among the indexers of this group")
    add("--classic", action="store_true", help="read the payload of the first swarms too")
    add("--ca", metavar="FILE", help="who may vouch for the brokers")
    add("--cert", metavar="FILE", help="certificate for the brokers")
    add("--key", metavar="FILE", help="its key")
    add("--auth", metavar="FILE", help="who may see the page: names, roles, hashed passwords")
    add("--page-cert", metavar="FILE", help="certificate of the page")
    add("--page-key", metavar="FILE", help="its key")
    add("--behind-proxy", action="store_true", help="a proxy in front does TLS and log-in")
    add("--mqtt", metavar="VERSION", help="auto, 5, 3.1.1 or 3.1 (auto)")
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    add("--config", metavar="FILE", help="TOML with the same names")
    parser.set_defaults(work=_run)


def _verdict_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="one of the list")
    parser.add_argument("--agent", metavar="NAME", help="as this agent sees it (the whole swarm)")
    parser.add_argument("--json", action="store_true", help="for a program")
    _store_flag(parser)
    parser.set_defaults(work=_verdict)


def _export_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--format", choices=FORMATS, help="by the file's ending; without one ndjson")
    add("--out", metavar="FILE", default="-", help="the file (-: standard output)")
    add("--since", metavar="TIME", help="24h, 7d, 2026-01-31 or 2026-01-31T18:00:00Z (all)")
    add("--until", metavar="TIME", help="the same (now)")
    add("--agent", metavar="NAME", help="of this agent alone")
    add("--target", metavar="TARGET", help="of this target alone")
    add("--quiet", action="store_true", help="no progress, no count")
    _store_flag(parser)
    parser.set_defaults(work=_export)


def _copy_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "It goes on where it was stopped, and may be done again. The indices of a first swarm are "
        "read too: --from elasticsearch:URL/logstash-*. What is copied is only read; its secret "
        f"comes from a file, or from {SOURCE}_API_KEY or {SOURCE}_PASSWORD"
    )
    add = parser.add_argument
    add("--from", metavar="STORE", dest="begin", required=True, help="what is copied")
    add("--to", metavar="STORE", required=True, help="what it comes into; it may be in use")
    add("--since", metavar="TIME", help="24h, 7d, 2026-01-31 or 2026-01-31T18:00:00Z (all)")
    add("--until", metavar="TIME", help="the same (all)")
    add("--index-prefix", metavar="NAME", help=PREFIX_HELP)
    add("--quiet", action="store_true", help="no progress, no counts")
    parser.set_defaults(work=_copy)


def _store_flag(parser: argparse.ArgumentParser, *, engines: bool = True) -> None:
    if engines:
        prefix = os.environ.get("SWARMING_INDEXER_INDEX_PREFIX")
        parser.add_argument("--index-prefix", metavar="NAME", default=prefix, help=PREFIX_HELP)
    default = os.environ.get("SWARMING_INDEXER_STORE") or config.default_store()
    told = STORE_HELP if engines else FILE_HELP
    parser.add_argument("--store", metavar="STORE", default=default, help=told)


def _version() -> str:
    try:
        return f"swarming {version('swarming')}"
    except PackageNotFoundError:
        return "swarming, not installed"


if __name__ == "__main__":
    sys.exit(main())
