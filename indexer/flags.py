"""What can be typed at the indexer: each command, its options, and a line about each."""

import argparse
import difflib
import os
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, NoReturn

from indexer import config
from indexer.stores import SOURCE
from indexer.typed import FORMATS, BadInput

PREFIX_HELP = "of an engine's indices (swarming)"
FILE_HELP = (
    f"sqlite:FILE (swarming.db in {config.STATE_FOLDER} for root and who may write there, else in "
    "~/.local/state/swarming)"
)
STORE_HELP = (
    f"elasticsearch:URL?api_key=FILE&ca=FILE, opensearch:URL (docs/elasticsearch.md) or {FILE_HELP}"
)
CA_FOLDER_HELP = (
    f"the swarm's own certificates ({config.CA_HOME}/ca for root and who may write there, else "
    "~/.local/state/swarming/ca)"
)


class Parser(argparse.ArgumentParser):
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


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What was typed; a store that was not is the one that the running indexer has. BadInput, or
    ConfigError of a file that says it."""
    flags = parser().parse_args(words)
    if flags.command != "run" and getattr(flags, "store", "") is None:
        flags.store, prefix = config.told_store()
        flags.index_prefix = getattr(flags, "index_prefix", None) or prefix
    return flags


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; `command` is the word that it begins with."""
    whole = Parser(
        prog="swarming-indexer",
        description="Collects what the agents measure, keeps it, and says who is to blame.",
        epilog="`run` may be left out: swarming-indexer localhost",
    )
    whole.add_argument("--version", action="version", version=_version())
    commands = whole.add_subparsers(
        metavar="COMMAND", dest="command", required=True, parser_class=Parser
    )
    for name, (told, add_flags) in COMMANDS.items():
        add_flags(commands.add_parser(name, help=told))
    return whole


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
    add("--ca-folder", metavar="DIR", help=CA_FOLDER_HELP)
    add("--auth", metavar="FILE", help="who may see the page: names, roles, hashed passwords")
    add("--page-cert", metavar="FILE", help="certificate of the page")
    add("--page-key", metavar="FILE", help="its key")
    add("--behind-proxy", action="store_true", help="a proxy in front does TLS and log-in")
    add("--mqtt", metavar="VERSION", help="auto, 5, 3.1.1 or 3.1 (auto)")
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    add("--config", metavar="FILE", help="TOML with the same names")


def _verdict_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="one of the list")
    parser.add_argument("--agent", metavar="NAME", help="as this agent sees it (the whole swarm)")
    parser.add_argument("--json", action="store_true", help="for a program")
    _store_flag(parser)


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


def _replay_flags(parser: argparse.ArgumentParser) -> None:
    _store_flag(parser)
    parser.add_argument("--classic", action="store_true", help="read the classic payload too")
    parser.add_argument("--list", action="store_true", help="print what still cannot be read")


def _backup_flags(parser: argparse.ArgumentParser) -> None:
    _store_flag(parser, engines=False)
    parser.add_argument("file", metavar="FILE", help="where to put it")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


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


def _dashboards_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A secret comes from a file, or from SWARMING_DASHBOARDS_API_KEY or "
        "SWARMING_DASHBOARDS_PASSWORD. Installing again replaces what was installed before."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--install", metavar="URL", help="of Kibana or OpenSearch Dashboards")
    where.add_argument("--out", metavar="FOLDER", help="write files to import by hand")
    add = parser.add_argument
    add("--index-prefix", metavar="NAME", default="swarming", help="of the indices (swarming)")
    add("--space", metavar="NAME", help="of Kibana, or the tenant of OpenSearch Dashboards")
    add("--ca", metavar="FILE", help="who may vouch for it")
    add("--api-key", metavar="FILE", help="holds the encoded key")
    add("--user", metavar="NAME", help="to log in as")
    add("--password", metavar="FILE", help="holds the password")


def _ca_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = "The swarm's own certificates: who may connect to its brokers, as whom."
    does = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    init = does.add_parser("init", help="make the authority, a server's and an indexer's own")
    init.add_argument("hosts", metavar="HOST", nargs="+", help="names and addresses of the server")
    init.add_argument("--indexer", metavar="NAME", default="indexer-one", help="(indexer-one)")
    issue = does.add_parser("issue", help="a box's NAME.swarm, with its key; an indexer's; again")
    issue.add_argument("names", metavar="NAME", nargs="+", help="indexer-…: an indexer's")
    issue.add_argument("--again", action="store_true", help="though the box has one that is good")
    issue.add_argument("--server", action="store_true", help="the names are a server's hosts")
    issue.add_argument("--csr", metavar="FILE", help="a request: its key stays where it was made")
    issue.add_argument("--place", metavar="TEXT", help="where the box stands")
    issue.add_argument("--isp", metavar="TEXT", help="its provider")
    issue.add_argument("--days", metavar="N", type=int, default=730, help="how long (730)")
    issue.add_argument("--out", metavar="DIR", help="where to put it (out in the CA's folder)")
    revoke = does.add_parser("revoke", help="no longer good: all of that name")
    revoke.add_argument("name", metavar="NAME", help="as ca list tells it")
    revoke.add_argument("--old", action="store_true", help="all but the newest: it was renewed")
    listing = does.add_parser("list", help="what was issued, until when, what is revoked")
    listing.add_argument("--json", action="store_true", help="for a program")
    for one in (init, issue, revoke, listing):
        one.add_argument("--ca-folder", metavar="DIR", help=CA_FOLDER_HELP)
        one.add_argument("--config", metavar="FILE", help="of the indexer, which may name the DIR")


def _invite_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints one line to paste into a box, which makes its own key and gets a certificate for "
        "it. It is good for a day, and for one box."
    )
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="of the box; it can have no other")
    add("--place", metavar="TEXT", help="where it is to stand, as you know it")
    add("--isp", metavar="TEXT", help="its provider, as you know it")
    add("--approve", action="store_true", help="ask me on the page before it is let in")
    add("--again", action="store_true", help="though it has a certificate that is good")
    add("--url", metavar="URL", help="of the page (page in swarm.toml)")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="of 8 days, but for the withdrawn")
    other.add_argument("--withdraw", action="store_true", help="it lets nobody in any more")
    add("--ca-folder", metavar="DIR", help=CA_FOLDER_HELP)
    add("--config", metavar="FILE", help="of the indexer: its ca-folder and page-cert")


def _auth_flags(parser: argparse.ArgumentParser) -> None:
    parser.description = "Asks for a password, and prints a line for the file of --auth."
    parser.add_argument("name", metavar="NAME", help="to log in as")
    parser.add_argument("role", choices=("viewer", "operator"), help="who looks, or changes, too")


def _store_flag(parser: argparse.ArgumentParser, *, engines: bool = True) -> None:
    """What is not typed is as the running indexer has it."""
    if engines:
        prefix = os.environ.get("SWARMING_INDEXER_INDEX_PREFIX")
        parser.add_argument("--index-prefix", metavar="NAME", default=prefix, help=PREFIX_HELP)
    told = STORE_HELP if engines else FILE_HELP
    parser.add_argument("--store", metavar="STORE", help=told)


def _version() -> str:
    try:
        return f"swarming {version('swarming')}"
    except PackageNotFoundError:
        return "swarming, not installed"


COMMANDS = {
    "run": ("collect from these brokers, and serve the page", _run_flags),
    "verdict": ("me, my ISP, the path, or the service?", _verdict_flags),
    "export": ("results as NDJSON, CSV or Parquet", _export_flags),
    "replay": ("read the dead letters again", _replay_flags),
    "backup": ("a whole copy of the store, while it runs", _backup_flags),
    "copy": ("everything of one store into another", _copy_flags),
    "dashboards": ("for Kibana, or its like", _dashboards_flags),
    "ca": ("who may connect: issue, revoke, list certificates", _ca_flags),
    "invite": ("a line to paste into a new box", _invite_flags),
    "auth": ("a line for the file of who may see the page", _auth_flags),
}
