"""Run inside a network namespace of its own: a broker behind a cable that is cut, mid-connection.

Prints how the connection learnt of it. `python -m tests.half_open FOLDER`, by test_mqtt_edges.
"""

import subprocess
import sys
from pathlib import Path

from agent.connection import Broker, Closed, Connection, Opened
from tests import needs
from tests.events import Events
from tests.servers import accepts, wait_for

HERE, THERE = "10.99.0.1", "10.99.0.2"
PORT = 1883


def main(folder: Path) -> None:
    far = subprocess.Popen(["unshare", "-n", "sleep", "120"])
    broker: subprocess.Popen[bytes] | None = None
    try:
        inside = ["nsenter", "-t", str(far.pid), "-n"]
        here = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True).stdout
        there = ["readlink", f"/proc/{far.pid}/ns/net"]
        wait_for(lambda: subprocess.run(there, capture_output=True).stdout not in (b"", here))
        run("ip", "link", "set", "lo", "up")  # paho wakes itself over loopback
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
        run("ip", "link", "set", "far", "netns", str(far.pid))
        run("ip", "addr", "add", f"{HERE}/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run(*inside, "ip", "addr", "add", f"{THERE}/24", "dev", "far")
        run(*inside, "ip", "link", "set", "far", "up")
        conf = folder / "mosquitto.conf"
        conf.write_text(f"listener {PORT} {THERE}\nallow_anonymous true\nuser root\n")
        broker = subprocess.Popen([*inside, needs.tool("mosquitto"), "-c", str(conf)])
        wait_for(lambda: accepts(PORT, THERE))
        events = Events()
        target = Broker(THERE, PORT, False)
        connection = Connection(target, "box", post=events.post, keepalive_s=2)
        connection.open()
        events.next(Opened)
        run(*inside, "ip", "link", "set", "far", "down")
        connection.publish("a", b"into the void")
        closed = events.next(Closed, timeout_s=60)
        print(f"closed: {closed.reason}; waiting: {connection.waiting}")
    finally:
        for process in (broker, far):
            if process is not None:
                process.kill()
                process.wait()


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
