"""Real Elasticsearch and OpenSearch processes on loopback, started and ended by a test or a bench.

An engine's data, configuration and log are in `home`: the folder that was asked for, or, where the
engine's user may not reach that (both refuse to run as root), a temporary one that end() removes.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests import maven, needs
from tests.certificates import Authority
from tests.servers import accepts, free_port

NOBODY = 65534
USER = "admin"
UP_WITHIN_S = 150
_RUNNER = "org.codelibs.opensearch.runner.OpenSearchRunner"
_NO_DISK_LIMITS = {"cluster.routing.allocation.disk.threshold_enabled": "false"}


class Secrets(NamedTuple):
    """What a client needs to be let in."""

    ca: str
    password: str


class Engine:
    """One engine process, on the same port and data however often it is started."""

    def __init__(
        self,
        folder: Path,
        port: int,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self.home = folder
        self.port = port
        self.ca = secrets.ca if secrets else None
        self.password = secrets.password if secrets else None
        self.url = f"{'https' if secrets else 'http'}://127.0.0.1:{port}"
        self._command = command
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        tls = ssl.create_default_context(cafile=self.ca) if secrets else None
        self._http = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )
        atexit.register(self.end)

    @property
    def pid(self) -> int:
        """The server's own process; Elasticsearch's launcher is another."""
        assert self._process is not None, "the engine is not running"
        with contextlib.suppress(FileNotFoundError):
            return int((self.home / "pid").read_text())
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def start(self, *, wait: bool = True) -> None:
        """The process, up and ready for writes, or only launched."""
        (self.home / "pid").unlink(missing_ok=True)
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self._environment,
                start_new_session=True,
                **_other_user(),
            )
        if wait:
            self.wait_up()

    def wait_up(self, status: str = "yellow", timeout_s: float = UP_WITHIN_S) -> None:
        """Until the cluster's health is at least the status."""
        end = time.monotonic() + timeout_s
        while not self._is(status):
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the engine has ended:\n{self.log[-3000:]}")
            if time.monotonic() > end:
                raise RuntimeError(f"the engine is not up in {timeout_s} s:\n{self.log[-3000:]}")
            time.sleep(0.1)

    def _is(self, status: str) -> bool:
        try:
            health = f"/_cluster/health?wait_for_status={status}&timeout=1s"
            return self.ask("GET", health)[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        """It ends in its own way."""
        if self._process is not None:
            self.thaw()
            os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
            self.kill()

    def kill(self) -> None:
        """It ends at once, as by kill -9, and is gone when this returns."""
        if self._process is None:
            return
        server = self.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        while _lives(server):
            time.sleep(0.01)

    def freeze(self) -> None:
        """It stops dead without a word: its sockets stay open."""
        assert self._process is not None, "the engine is not running"
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None, "the engine is not running"
        os.killpg(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        """Killed, and its temporary home removed."""
        self.kill()
        atexit.unregister(self.end)
        if self.home.name.startswith("swarming-engine-"):
            shutil.rmtree(self.home, ignore_errors=True)

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None,
        timeout_s: float = 30,
    ) -> tuple[int, Any]:
        """The status and the JSON that it answers, to its superuser or to an API key.

        A list is sent as lines of JSON, for _bulk.
        """
        lines = body if isinstance(body, list) else [] if body is None else [body]
        kind = "application/x-ndjson" if isinstance(body, list) else "application/json"
        request = urllib.request.Request(self.url + path, method=method)
        if lines:
            request.data = "".join(json.dumps(line) + "\n" for line in lines).encode()
            request.add_header("Content-Type", kind)
        if key is not None:
            request.add_header("Authorization", f"ApiKey {key}")
        elif self.password is not None:
            pair = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        try:
            with self._http.open(request, timeout=timeout_s) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())

    def api_key(
        self, cluster: Sequence[str], indices: Sequence[str], privileges: Sequence[str]
    ) -> str:
        """A new API key, encoded as clients want it, that may do this and nothing else."""
        grants = [{"names": list(indices), "privileges": list(privileges)}] if indices else []
        role = {"cluster": list(cluster), "indices": grants}
        body = {"name": f"test-{uuid.uuid4()}", "role_descriptors": {"test": role}}
        status, made = self.ask("POST", "/_security/api_key", body)
        assert status == 200, made
        return str(made["encoded"])

    def revoke(self, key: str) -> None:
        """The API key is refused from now on."""
        name = base64.b64decode(key).decode().partition(":")[0]
        status, answer = self.ask("DELETE", "/_security/api_key", {"ids": [name]})
        assert status == 200, answer


def elasticsearch(
    folder: Path,
    *,
    secure: bool = False,
    settings: Mapping[str, str] | None = None,
    heap: str = "512m",
    port: int | None = None,
) -> Engine:
    """One node, up; secure: with TLS, a superuser and API keys."""
    secrets = _secrets(folder) if secure else None
    alone = {"discovery.type": "single-node", "transport.port": str(free_port())}
    engine = _node(folder, port or free_port(), {**alone, **(settings or {})}, heap, secrets)
    engine.start()
    return engine


def elasticsearch_cluster(
    folder: Path,
    nodes: int = 3,
    *,
    secure: bool = False,
    settings: Mapping[str, str] | None = None,
    heap: str = "512m",
) -> list[Engine]:
    """One cluster of as many processes, all of them up and joined."""
    secrets = _secrets(folder) if secure else None
    transports = [free_port() for _ in range(nodes)]
    names = [f"node-{number}" for number in range(nodes)]
    shared = {
        "discovery.seed_hosts": ",".join(f"127.0.0.1:{port}" for port in transports),
        "cluster.initial_master_nodes": ",".join(names),
        "cluster.name": folder.name,
    }
    engines = []
    for name, transport in zip(names, transports, strict=True):
        own = {**shared, "node.name": name, "transport.port": str(transport), **(settings or {})}
        engines.append(_node(folder / name, free_port(), own, heap, secrets))
    for engine in engines:
        engine.start(wait=False)
    for engine in engines:
        engine.wait_up()
    return engines


def opensearch(
    folder: Path,
    *,
    nodes: int = 1,
    settings: Mapping[str, str] | None = None,
    heap: str = "512m",
) -> Engine:
    """OpenSearch without its security plugin, up; its nodes share one process."""
    jars = maven.opensearch()
    java = needs.java()
    home = _home(folder)
    # The runner gives HTTP ports up to 9299 only, counted from the one after -baseHttpPort.
    port = _free_port_below(9300 - nodes)
    own = {"network.host": "127.0.0.1", **_NO_DISK_LIMITS}
    if nodes == 1:
        own["discovery.type"] = "single-node"
    for number in range(1, nodes + 1):
        conf = home / "nodes" / f"node_{number}" / "config"
        _write_settings(conf / "opensearch.yml", {**own, **(settings or {})})
    (home / "tmp").mkdir()
    options = [f"-Xms{heap}", f"-Xmx{heap}", f"-Djava.io.tmpdir={home}/tmp"]
    command = [java, *options, "-cp", f"{jars}/*", _RUNNER, "-basePath", f"{home}/nodes"]
    command += ["-numOfNode", str(nodes), "-baseHttpPort", str(port - 1)]
    command += ["-clusterName", folder.name]
    _give(home)
    engine = Engine(home, port, command)
    engine.start()
    return engine


def _node(
    folder: Path, port: int, settings: Mapping[str, str], heap: str, secrets: Secrets | None
) -> Engine:
    """An Elasticsearch node, not started."""
    java = needs.java()
    program = maven.elasticsearch()
    home = _home(folder)
    conf = home / "config"
    shutil.copytree(program / "config", conf, dirs_exist_ok=True)
    for name in ("data", "logs", "tmp"):
        (home / name).mkdir(exist_ok=True)
    own = {
        "network.host": "127.0.0.1",
        "http.port": str(port),
        "path.data": f"{home}/data",
        "path.logs": f"{home}/logs",
        "xpack.security.enabled": "false",
        **_NO_DISK_LIMITS,
    }
    if secrets:
        own |= _guard(conf, secrets)
    _write_settings(conf / "elasticsearch.yml", {**own, **settings})
    _give(home)
    environment = {
        "ES_JAVA_HOME": str(Path(java).parents[1]),
        "ES_PATH_CONF": str(conf),
        "ES_TMPDIR": str(home / "tmp"),
        "ES_JAVA_OPTS": f"-Xms{heap} -Xmx{heap}",
        "CLI_JAVA_OPTS": "-Xmx64m -XX:+UseSerialGC",
    }
    command = [str(program / "bin" / "elasticsearch"), "-p", str(home / "pid")]
    return Engine(home, port, command, environment, secrets)


def _secrets(folder: Path) -> Secrets:
    """An authority and one certificate for every node, and the superuser's password."""
    authority = Authority(folder / "authority")
    authority.issue("engine", ("127.0.0.1", "localhost"))
    return Secrets(authority.ca, uuid.uuid4().hex)


def _guard(conf: Path, secrets: Secrets) -> dict[str, str]:
    """The settings of a node that only lets in who has a certificate, a password or a key."""
    for name in ("ca.crt", "engine.crt", "engine.key"):
        shutil.copy(Path(secrets.ca).with_name(name), conf / name)
    (conf / "users").write_text(f"{USER}:{_hashed(secrets.password)}\n")
    (conf / "users_roles").write_text(f"superuser:{USER}\n")
    own = {"xpack.security.enabled": "true"}
    for layer in ("http", "transport"):
        ssl_of = f"xpack.security.{layer}.ssl"
        own[f"{ssl_of}.enabled"] = "true"
        own[f"{ssl_of}.certificate"] = "engine.crt"
        own[f"{ssl_of}.key"] = "engine.key"
        own[f"{ssl_of}.certificate_authorities"] = "ca.crt"
    return own


def _hashed(password: str) -> str:
    """The password as the file realm keeps it; its own command would cost a JVM's start."""
    rounds, salt = 10000, os.urandom(32)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds, 32)
    parts = (base64.b64encode(part).decode() for part in (salt, derived))
    return "{PBKDF2}" + "$".join((str(rounds), *parts))


def _write_settings(path: Path, settings: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))


def _home(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    above = folder.resolve().parents
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in above):
        return folder
    return Path(tempfile.mkdtemp(prefix="swarming-engine-"))


def _give(home: Path) -> None:
    """To the user that the engine runs as."""
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(home)], check=True)


def _other_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def _lives(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be forgotten."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _free_port_below(limit: int) -> int:
    for port in random.sample(range(4000, limit), 200):
        if not accepts(port):
            return port
    raise AssertionError("200 ports in a row are taken")


def _parsed(answer: bytes) -> Any:
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError:
        return answer.decode(errors="replace")
