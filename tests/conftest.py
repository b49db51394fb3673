"""Servers that a test asks for by name, and that are gone when it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import engines, servers
from tests.certificates import Authority
from tests.servers import free_port, wait_for

__all__ = ["free_port", "wait_for"]

# A loaded machine is slow and may not fail a test for it; in CI each run tries the same examples.
settings.register_profile(
    "swarming",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("swarming")

ENGINES = {"tests.engine", "tests.engines", "tests.elastic_faults", "tests.elastic_load"}
LONG = ("engines", "test_torture", "test_deb_boot", "test_armhf")  # a minute and more


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes (`make test JOBS=2`) one has all that wants an engine, which takes half
    a minute to start. Of the rest, a file stays together. What takes long comes first."""
    if not config.pluginmanager.hasplugin("dsession") and not hasattr(config, "workerinput"):
        return
    groups = {item: "engines" if _wants_an_engine(item) else item.path.stem for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: LONG.index(groups[item]) if groups[item] in LONG else len(LONG))


def _wants_an_engine(item: pytest.Item) -> bool:
    module = getattr(item, "module", None)
    names = {getattr(value, "__module__", None) for value in vars(module).values()}
    names |= {getattr(value, "__name__", None) for value in vars(module).values()}
    return bool(names & ENGINES)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., servers.Server]]:
    """mosquitto(*conf_lines) starts a stock Mosquitto, as many times as the test likes."""
    yield from _factory(tmp_path, "mosquitto", servers.mosquitto)


@pytest.fixture
def amqtt(tmp_path: Path) -> Iterator[Callable[..., servers.Server]]:
    yield from _factory(tmp_path, "amqtt", lambda folder, _: servers.amqtt(folder))


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Callable[..., servers.Server]]:
    yield from _factory(tmp_path, "nats", lambda folder, _: servers.nats(folder))


@pytest.fixture
def mochi(tmp_path: Path) -> Iterator[Callable[..., servers.Server]]:
    yield from _factory(tmp_path, "mochi", lambda folder, _: servers.mochi(folder))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority: authority.ca, authority.issue(name, hosts) -> (cert, key)."""
    return Authority(tmp_path / "authority")


@pytest.fixture(scope="session")
def elasticsearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    """The session's Elasticsearch, with TLS, a superuser and API keys.

    It is one for all tests, so each has an index prefix of its own, and none stops it.
    """
    folder = tmp_path_factory.mktemp("elasticsearch")
    engine = engines.elasticsearch(folder, secure=True, quick=True)
    yield engine
    engine.end()


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    """The session's OpenSearch, which lets everybody in; one for all tests, as above."""
    engine = engines.opensearch(tmp_path_factory.mktemp("opensearch"), quick=True)
    yield engine
    engine.end()


def _factory(
    folder: Path, name: str, make: Callable[[Path, tuple[str, ...]], servers.Server]
) -> Iterator[Callable[..., servers.Server]]:
    running: list[servers.Server] = []

    def start(*lines: str) -> servers.Server:
        server = make(folder / f"{name}-{len(running)}", lines)
        running.append(server)
        return server

    yield start
    for server in running:
        server.kill()
