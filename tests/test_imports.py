"""The house, as DESIGN draws it: who may import whom, read from the source. Nothing is run."""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SIDES = ("agent", "indexer")
THIRD_PARTY_OF_AGENT = {"paho", "sqlite_utils"}
TOO_DEAR_OR_UNSAFE = (
    *("ctypes", "asyncio", "xml", "multiprocessing", "email", "http.server", "pickle"),
    *("importlib.metadata", "pkg_resources", "concurrent"),
)
GROUND_FLOOR = {"wire", "result", "batch", "strict_json", "targets"} | {
    *("dial", "connection", "mqtt_client", "mqtt_events", "notify", "log_lines"),
    *("certificate", "swarm_file"),
}
FOR_THE_INDEXER = {"agent.wire", "agent.batch", "agent.strict_json", "agent.targets"} | {
    *("agent.connection", "agent.notify", "agent.log_lines"),
    *("agent.certificate", "agent.swarm_file"),
}

# Rooms that decide and do not do: none of them can wait, send, open or run anything.
PURE = (
    *("schedule", "wire", "result", "batch", "strict_json", "targets", "linkguess", "drain"),
    "budget",
    *("brokers", "watch", "icmp_packet", "http_message", "spans", "losses", "about"),
    *("certificate", "membership.csr", "membership.p256", "membership.sharing"),
    *("link.mask", "link.kinds", "link.modem", "link.at", "link.docsis"),
)
IO = {"socket", "ssl", "select", "threading", "subprocess", "queue", "os", "sqlite3"} | {
    *("pathlib", "shutil", "signal", "paho", "sqlite_utils", "http", "urllib.request", "tempfile")
}

# Who may run a command: the readers of the link do it through their helpers alone, bounded.
RUNS_COMMANDS = {"agent.clock", "agent.ping_command", "agent.link.helpers"}

# What a room never reaches, not even through another one.
NEVER_REACHES = {
    "agent.swarming_agent": ["agent.membership*", "agent.doctor*"],
    "agent.schedule": ["agent.[!st]*"],
    "agent.probe_*": ["agent.store*", "agent.drain", "agent.connection", "agent.watch"],
    "agent.prober": ["agent.store*", "agent.drain", "agent.connection", "agent.watch"],
    "agent.ladder": ["agent.store*", "agent.drain", "agent.connection", "agent.watch"],
    "agent.store*": ["agent.prob*", "agent.schedule", "agent.drain", "agent.connection"],
    "agent.drain": ["agent.prob*", "agent.schedule", "agent.connection", "agent.swarming_agent"],
    "agent.linkguess": ["agent.[!l]*"],
    "agent.link": ["agent.[!l]*"],
    "agent.link.*": ["agent.[!l]*"],
    "indexer.verdict.*": ["indexer.[!v]*", "agent.connection"],
    "indexer.store*": ["indexer.consume", "indexer.web*", "indexer.verdict*", "agent.connection"],
    "indexer.web*": ["indexer.store_*", "indexer.swarming_indexer", "agent.connection"],
    "indexer.consume": ["indexer.web*", "indexer.verdict*"],
    "indexer.cli": ["indexer.dashboards*", "indexer.ca", "indexer.ca.*", "indexer.web*"],
}


class Import:
    def __init__(self, name: str, line: int, at_start: bool) -> None:
        self.name, self.line, self.at_start = name, line, at_start


def modules() -> dict[str, Path]:
    found = {}
    for side in SIDES:
        for path in sorted((ROOT / side).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


@cache
def imports(name: str) -> list[Import]:
    """Every import of a module; ``at_start`` those that happen when it is loaded."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    return list(_walk(tree_of(name), package, True))


def _walk(node: ast.AST, package: str, at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_start)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = package.split(".")
                base = ".".join(parents[: len(parents) - child.level + 1] + base.split(".")[:99])
                base = base.rstrip(".")
            for alias in child.names:
                whole = f"{base}.{alias.name}"
                yield Import(whole if whole in MODULES else base, child.lineno, at_start)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(child, package, False)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from (Import(one.name, one.line, False) for one in _walk(child, package, False))
        else:
            yield from _walk(child, package, at_start)


def is_or_is_in(name: str, *tops: str) -> bool:
    return any(name == top or name.startswith(top + ".") for top in tops)


def reached(name: str) -> set[str]:
    """Every module of the house that loading this one loads."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for one in imports(waiting.pop()):
            if one.at_start and one.name in MODULES and one.name not in seen:
                seen.add(one.name)
                waiting.append(one.name)
    return seen


def test_there_is_a_house_to_look_at() -> None:
    assert {"agent.swarming_agent", "agent.store", "agent.linkguess"} <= set(MODULES)
    assert {"indexer.swarming_indexer", "indexer.store", "indexer.consume"} <= set(MODULES)


def test_the_agent_needs_paho_and_sqlite_utils_and_nothing_else() -> None:
    for name in MODULES:
        if is_or_is_in(name, "agent"):
            for one in imports(name):
                top = one.name.partition(".")[0]
                known = top in sys.stdlib_module_names or top in THIRD_PARTY_OF_AGENT
                assert known or top == "agent", f"{name}:{one.line} imports {one.name}"


def test_the_agent_imports_nothing_that_is_too_dear_for_a_small_box() -> None:
    for name in MODULES:
        if is_or_is_in(name, "agent"):
            for one in imports(name):
                bad = is_or_is_in(one.name, *TOO_DEAR_OR_UNSAFE)
                assert not bad, f"{name}:{one.line} imports {one.name}"


def test_the_indexer_takes_only_the_ground_floor_from_the_agent() -> None:
    for name in MODULES:
        if is_or_is_in(name, "indexer"):
            for one in imports(name):
                taken = is_or_is_in(one.name, "agent")
                assert not taken or one.name in FOR_THE_INDEXER, f"{name}:{one.line} {one.name}"


def test_the_ground_floor_stands_on_nothing_of_the_house() -> None:
    for room in GROUND_FLOOR & {name.removeprefix("agent.") for name in MODULES}:
        above = {name.removeprefix("agent.") for name in reached(f"agent.{room}")} - GROUND_FLOOR
        assert not above - {"agent"}, f"agent.{room} reaches {above}"


def test_only_the_journal_of_the_agent_knows_sqlite() -> None:
    for name in MODULES:
        if is_or_is_in(name, "agent") and not name.startswith("agent.store"):
            for one in imports(name):
                known = is_or_is_in(one.name, "sqlite3", "sqlite_utils")
                assert not known, f"{name}:{one.line} imports {one.name}"


def test_only_the_embedded_store_of_the_indexer_knows_sqlite() -> None:
    for name in MODULES:
        if is_or_is_in(name, "indexer") and "sqlite" not in name:
            for one in imports(name):
                known = is_or_is_in(one.name, "sqlite3", "sqlite_utils")
                assert not known, f"{name}:{one.line} imports {one.name}"


def test_only_few_rooms_of_the_agent_run_commands() -> None:
    for name in MODULES:
        if is_or_is_in(name, "agent"):
            runs = any(is_or_is_in(one.name, "subprocess", "pty") for one in imports(name))
            assert runs == (name in RUNS_COMMANDS), name
            for node in ast.walk(tree_of(name)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    spawns = node.attr in ("system", "popen", "fork") or node.attr[:5] == "spawn"
                    assert not (node.value.id == "os" and spawns), f"{name}:{node.lineno}"


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_can_neither_wait_nor_send_nor_open(room: str) -> None:
    name = f"agent.{room}"
    if name not in MODULES:
        pytest.skip(f"there is no {name}")
    for one in imports(name):
        assert not is_or_is_in(one.name, *IO), f"{name}:{one.line} imports {one.name}"
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Name):
            assert node.id not in {"open", "print", "input", "exec", "eval"}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            asks_the_clock = node.value.id == "time" and node.attr not in ("strptime", "gmtime")
            assert not asks_the_clock, f"{name}:{node.lineno} now is an argument"


def test_verdicts_are_pure() -> None:
    for name in MODULES:
        if is_or_is_in(name, "indexer.verdict"):
            for one in imports(name):
                assert not is_or_is_in(one.name, *IO), f"{name}:{one.line} imports {one.name}"


def test_arrows_run_one_way() -> None:
    for name in MODULES:
        for pattern, forbidden in NEVER_REACHES.items():
            if fnmatch(name, pattern):
                wrong = {
                    other
                    for other in reached(name) - {name}
                    if any(fnmatch(other, bad) for bad in forbidden)
                }
                assert not wrong, f"{name} reaches {sorted(wrong)}"


def test_no_arrow_comes_back() -> None:
    for name in MODULES:
        if MODULES[name].name != "__init__.py":
            assert name not in reached(name), f"{name} imports itself by a detour"


def test_the_pace_is_set_in_one_place_only() -> None:
    for name in MODULES:
        for node in ast.walk(tree_of(name)):
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    assert target.value.id != "schedule", f"{name}:{node.lineno} sets the pace"
