"""Gives a journal that is not on flash the name that is kept there; made up, where there is none.

Root runs it, and it works as the agent, whose folders both are: whatever link that user has put
into them leads no further than the user itself.
"""

import os
import sys

kept, beside = sys.argv[1:]
agent = os.stat(os.path.dirname(beside))
os.setgroups([])
os.setgid(agent.st_gid)
os.setuid(agent.st_uid)

from agent import names  # noqa: E402


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1000).strip()
    except FileNotFoundError:
        return ""


try:
    name = read(kept) or names.make_up()
    for path in (kept, beside):
        if read(path) != name:
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                file.write(name + "\n")
            os.replace(f"{path}.new", path)
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}: the name may be another after a reboot")
