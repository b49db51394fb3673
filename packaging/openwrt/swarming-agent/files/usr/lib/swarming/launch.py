"""Starts the agent with the libraries that were packed beside it."""

import os
import sys

# Read by every Python, however old, before it can say that it is too old.
if sys.version_info < (3, 11):  # noqa: UP036
    this = "%d.%d" % sys.version_info[:2]  # noqa: UP031
    sys.stderr.write("swarming-agent: Python 3.11 or newer is needed, and this is " + this + "\n")
    sys.exit(2)

sys.path.insert(1, os.path.join(sys.path[0], "vendor"))

from agent.cli import main  # noqa: E402

sys.exit(main())
