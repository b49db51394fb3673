"""Real Elasticsearch and OpenSearch on loopback, for a test or a bench.

An engine's data, configuration and log are in its `home`: the folder that was asked for, or, where
the user that it runs as may not reach that (as root we run it as nobody, for it refuses root), a
temporary one that end() removes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import maven, needs
from tests.certificates import Authority
from tests.engine import NOBODY, USER, Engine, Secrets
from tests.servers import accepts, free_port

__all__ = ["Engine", "elasticsearch", "elasticsearch_cluster", "opensearch"]

_RUNNER = "org.codelibs.opensearch.runner.OpenSearchRunner"
_RUNNER_PORTS_TO = 9299  # it looks for a free port from the one after -baseHttpPort up to this
_COMMON = {
    "network.host": "127.0.0.1",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
}
# Java's first compiler alone: sooner up, but slower later, so not for what is measured.
_QUICK = "-XX:TieredStopAtLevel=1"
# The superuser role alone may not write to the indices that the engine keeps for itself.
_ROLES = """everything:
  cluster: ["all"]
  indices:
    - names: ["*"]
      privileges: ["all"]
      allow_restricted_indices: true
"""


def elasticsearch(
    folder: Path,
    *,
    secure: bool = False,
    settings: Mapping[str, str] | None = None,
    heap: str = "512m",
    port: int | None = None,
    quick: bool = False,
) -> Engine:
    """One node, up. Secure: with TLS, a superuser and API keys. Quick: sooner up, but slower."""
    secrets = _secrets(folder) if secure else None
    own = {"discovery.type": "single-node", "transport.port": str(free_port()), **(settings or {})}
    engine = _node(folder, port or free_port(), own, _java_options(heap, quick), secrets)
    _up([engine])
    return engine


def elasticsearch_cluster(
    folder: Path,
    nodes: int = 3,
    *,
    secure: bool = False,
    settings: Mapping[str, str] | None = None,
    heap: str = "512m",
    quick: bool = False,
) -> list[Engine]:
    """One cluster of as many processes, all of them up and joined."""
    secrets = _secrets(folder) if secure else None
    transports = [str(free_port()) for _ in range(nodes)]
    names = [f"node-{number}" for number in range(nodes)]
    shared = {
        "cluster.name": folder.name,
        "discovery.seed_hosts": ",".join(f"127.0.0.1:{port}" for port in transports),
        "cluster.initial_master_nodes": ",".join(names),
        **(settings or {}),
    }
    engines = []
    for name, transport in zip(names, transports, strict=True):
        own = {**shared, "node.name": name, "transport.port": transport}
        options = _java_options(heap, quick)
        engines.append(_node(folder / name, free_port(), own, options, secrets))
    _up(engines)
    return engines


def opensearch(
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    heap: str = "512m",
    quick: bool = False,
) -> Engine:
    """One OpenSearch node without its security plugin, up."""
    jars, java = maven.opensearch(), needs.java()
    home = _home(folder)
    own = {
        **_COMMON,
        "discovery.type": "single-node",
        "transport.port": str(free_port()),
        **(settings or {}),
    }
    conf = home / "nodes" / "node_1" / "config"
    conf.mkdir(parents=True)
    (home / "tmp").mkdir()
    _write_settings(conf / "opensearch.yml", own)
    _give(home)
    port = _free_port_to(_RUNNER_PORTS_TO)
    options = [*_java_options(heap, quick).split(), f"-Djava.io.tmpdir={home}/tmp"]
    command = [java, *options, "-cp", f"{jars}/*", _RUNNER, "-basePath", f"{home}/nodes"]
    command += ["-numOfNode", "1", "-baseHttpPort", str(port - 1), "-clusterName", folder.name]
    engine = Engine(home, port, command, temporary=home != folder)
    _up([engine])
    return engine


def _java_options(heap: str, quick: bool) -> str:
    return f"-Xms{heap} -Xmx{heap}" + (f" {_QUICK}" if quick else "")


def _up(engines: Sequence[Engine]) -> None:
    """All of them, or none: a cluster's nodes wait for each other."""
    try:
        for engine in engines:
            engine.start(wait=False)
        for engine in engines:
            engine.wait_up()
        if engines[0].password is not None:
            _make_room_for_keys(engines[0])
    except BaseException:
        for engine in engines:
            engine.end()
        raise


def _node(
    folder: Path, port: int, settings: Mapping[str, str], options: str, secrets: Secrets | None
) -> Engine:
    """An Elasticsearch node, not started."""
    program, java = maven.elasticsearch(), needs.java()
    home = _home(folder)
    conf = home / "config"
    shutil.copytree(program / "config", conf)
    for name in ("data", "logs", "tmp"):
        (home / name).mkdir()
    own = {
        **_COMMON,
        "http.port": str(port),
        "path.data": f"{home}/data",
        "path.logs": f"{home}/logs",
        "xpack.security.enabled": "false",
        **(_guard(conf, secrets) if secrets else {}),
        **settings,
    }
    _write_settings(conf / "elasticsearch.yml", own)
    _give(home, Path(own["path.data"]))
    environment = {
        "ES_JAVA_HOME": str(Path(java).parents[1]),
        "ES_PATH_CONF": str(conf),
        "ES_TMPDIR": str(home / "tmp"),
        "ES_JAVA_OPTS": options,
        "CLI_JAVA_OPTS": f"-Xmx64m -XX:+UseSerialGC {_QUICK}",
    }
    command = [str(program / "bin" / "elasticsearch"), "-p", str(home / "pid")]
    return Engine(
        home, port, command, environment=environment, secrets=secrets, temporary=home != folder
    )


def _secrets(folder: Path) -> Secrets:
    """An authority, one certificate for every node, and the superuser's password."""
    authority = Authority(folder / "authority")
    authority.issue("engine", ("127.0.0.1", "localhost"))
    return Secrets(authority.ca, uuid.uuid4().hex)


def _guard(conf: Path, secrets: Secrets) -> dict[str, str]:
    """The settings of a node that only lets in who has its authority's trust and a secret."""
    for name in ("ca.crt", "engine.crt", "engine.key"):
        shutil.copy(Path(secrets.ca).with_name(name), conf / name)
    (conf / "users").write_text(f"{USER}:{_hashed(secrets.password)}\n")
    (conf / "users_roles").write_text(f"superuser:{USER}\neverything:{USER}\n")
    (conf / "roles.yml").write_text(_ROLES)
    own = {"xpack.security.enabled": "true"}
    for layer in ("http", "transport"):
        tls = f"xpack.security.{layer}.ssl"
        own[f"{tls}.enabled"] = "true"
        own[f"{tls}.certificate"] = "engine.crt"
        own[f"{tls}.key"] = "engine.key"
        own[f"{tls}.certificate_authorities"] = "ca.crt"
    return own


def _hashed(password: str) -> str:
    """The password as the file realm keeps it; Elastic's own command would cost a JVM's start."""
    rounds, salt = 10000, os.urandom(32)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds, 32)
    parts = (base64.b64encode(part).decode() for part in (salt, derived))
    return "{PBKDF2}" + "$".join((str(rounds), *parts))


def _make_room_for_keys(engine: Engine) -> None:
    """The index that keeps API keys, with an analyzer that is in the zip.

    Elasticsearch makes it by itself, but with a filter of a module that the zip has not. An index
    that is cloned keeps its own analyzers, and takes Elasticsearch's fields.
    """
    analysis = {"analyzer": {"email": {"type": "standard"}}}
    shape = {"index.format": 6, "index.number_of_replicas": 0, "index.blocks.write": True}
    seed = f"seed-{uuid.uuid4()}"
    kept = {"index.blocks.write": None, "index.auto_expand_replicas": "0-1", "index.hidden": True}
    clone = {"settings": kept, "aliases": {".security": {"is_hidden": True}}}
    for method, path, body in (
        ("PUT", f"/{seed}", {"settings": {**shape, "analysis": analysis}}),
        ("PUT", f"/{seed}/_clone/.security-7", clone),
        ("DELETE", f"/{seed}", None),
    ):
        status, answer = engine.ask(method, path, body)
        assert status == 200, answer


def _write_settings(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))


def _home(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    above = folder.resolve().parents
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in above):
        return folder
    return Path(tempfile.mkdtemp(prefix="swarming-engine-"))


def _give(*folders: Path) -> None:
    """To the user that the engine runs as."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", *map(str, folders)], check=True)


def _free_port_to(last: int) -> int:
    for port in random.sample(range(4000, last + 1), 200):
        if not accepts(port):
            return port
    raise AssertionError("200 ports in a row are taken")
