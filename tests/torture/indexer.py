"""The real indexer in a hurry, with the bug that MUTANT (environment) names."""

import os
import sys

from indexer import cli
from tests import fast_indexer
from tests.torture import mutants


def main() -> int:
    fast_indexer.shorten()
    mutants.plant_in_indexer(os.environ.get("MUTANT"))
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
