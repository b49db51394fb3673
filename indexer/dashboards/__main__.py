"""`python -m indexer.dashboards` writes dashboards/*.ndjson of this repository anew."""

from pathlib import Path

from indexer.dashboards.command import write

if __name__ == "__main__":
    for path in write(Path(__file__).parents[2] / "dashboards", "swarming"):
        print(path)
