"""Starts the agent with the libraries that were packed beside it."""

import os
import sys

sys.path.insert(1, os.path.join(sys.path[0], "vendor"))

from agent.cli import main  # noqa: E402

sys.exit(main())
