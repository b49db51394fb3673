"""An operator's server for a test: the authority that `ca init` makes, Mosquitto as we ship it.

The shipped files are used as they are, but for where they lie and the port. What a test changes it
changes as an operator would: by the commands, by putting files in place, by reload and restart.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.connection import Connection, Credentials, parse_broker
from agent.mqtt_events import Closed, Opened, Refused
from indexer import cli
from indexer.ca import Authority, Role
from indexer.ca.forms import new_key, pem, private_pem
from tests import mosquittos
from tests.servers import Server, wait_for

SHIPPED = Path(__file__).resolve().parents[1] / "packaging" / "mosquitto"
# What Debian's package has in its own mosquitto.conf, as far as it says anything.
_DEBIANS = "persistence true\npersistence_location {0}/\ninclude_dir {0}/conf.d\nlog_dest stderr\n"
# Somebody who sees everything, whom no access list that we ship knows.
WATCHER = "indexer-watcher"
_WATCHES = f"\nuser {WATCHER}\ntopic read #\ntopic read $SYS/#\n"


class Operator:
    """The broker runs once this is made; end it with stop()."""

    def __init__(self, folder: Path, broker: str = "here") -> None:
        self.ca_folder = folder / "ca"
        self.etc = folder / "mosquitto"
        for name in ("certs", "conf.d"):
            (self.etc / name).mkdir(parents=True)
        self._started_by = mosquittos.command(broker)
        self.ca("init", "127.0.0.1", "localhost")
        self.install()
        acl = self.etc / "swarming.acl"
        acl.write_text((SHIPPED / "swarming.acl").read_text() + _WATCHES)
        acl.chmod(0o600)
        self.server = Server(self.etc, self._command)
        self.broker = f"mqtts://127.0.0.1:{self.server.port}"
        (self.ca_folder / "swarm.toml").write_text(f'brokers = ["{self.broker}"]\n')

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def ca(self, *words: str) -> str:
        """What `swarming-indexer ca` prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(None):
            code = cli.main(["ca", *words, "--ca-folder", str(self.ca_folder)])
        assert code == 0, words
        return printed.getvalue()

    @property
    def authority(self) -> Authority:
        return Authority.open(self.ca_folder)

    def install(self) -> None:
        """Puts in place what the commands say; Mosquitto reads it when it is told to."""
        out = self.ca_folder / "out"
        for path in (self.ca_folder / "ca.crt", self.ca_folder / "crl.pem", out / "server.crt",
                     out / "server.key"):  # fmt: skip
            shutil.copy(path, self.etc / "certs")

    def reload(self) -> None:
        os.kill(self.server.pid, signal.SIGHUP)

    def restart(self) -> None:
        self.server.stop()
        self.server.start()

    def swarm_file(self, name: str) -> Path:
        """A new one of that name."""
        self.ca("issue", name, "--again")
        return self.ca_folder / "out" / f"{name}.swarm"

    def member(self, name: str) -> Credentials:
        """Of a box, by its .swarm file; or of the indexer that `ca init` has made."""
        if name.startswith("indexer-"):
            out = self.ca_folder / "out"
            if not (out / f"{name}.crt").exists():
                self.ca("issue", name)
            return Credentials(self._ca, str(out / f"{name}.crt"), str(out / f"{name}.key"))
        path = str(self.swarm_file(name))
        return Credentials(path, path, path)

    def signed(
        self, authority: Authority, name: str, role: Role = "agent", ended: bool = False
    ) -> Credentials:
        """By whatever authority; the broker is still checked against ours."""
        key = new_key()
        now = datetime.now(UTC) - timedelta(days=3 if ended else 0)
        hosts = ("localhost",) if role == "server" else ()
        made = authority.issue(name, key.public_key(), role=role, hosts=hosts, days=1, now=now)
        path = self.etc / f"{name}-{made.serial_number:x}.pem"
        path.write_text(pem(made) + private_pem(key))
        return Credentials(self._ca, str(path), str(path))

    def lets_in(self, credentials: Credentials, version: str = "5") -> bool:
        """Whether the broker takes it for one of the swarm, now."""
        connection = self.opened(credentials, version)
        if connection is not None:
            connection.close()
        return connection is not None

    def opened(
        self,
        credentials: Credentials,
        version: str = "5",
        will: tuple[str, bytes] | None = None,
    ) -> Connection | None:
        """A connection with these; None: it was not let in, and nothing came of it."""
        events: list[object] = []
        connection = Connection(
            parse_broker(self.broker), "somebody", post=events.append, version=version,
            credentials=credentials, will=will,
        )  # fmt: skip
        connection.open()
        ends = (Opened, Refused, Closed)
        wait_for(lambda: any(isinstance(one, ends) for one in events), what="an answer")
        return connection if isinstance(events[0], Opened) else None

    @property
    def _ca(self) -> str:
        return str(self.ca_folder / "ca.crt")

    def _command(self, folder: Path, port: int) -> list[str]:
        shipped = (SHIPPED / "swarming.conf").read_text()
        assert "\nlistener 8883\n" in shipped
        ours = shipped.replace("\nlistener 8883\n", f"\nlistener {port} 127.0.0.1\n")
        ours = ours.replace("/etc/mosquitto", str(folder))
        (folder / "conf.d" / "swarming.conf").write_text(ours)
        main = _DEBIANS.format(folder) + ("user root\n" if os.geteuid() == 0 else "")
        (folder / "mosquitto.conf").write_text(main)
        return [*self._started_by, "-c", str(folder / "mosquitto.conf")]
