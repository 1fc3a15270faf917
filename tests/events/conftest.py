"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "s3cret/word@home"


@dataclass(frozen=True)
class Server:
    """A server that listens on this machine alone; its one user is ``shop``."""

    port: int

    @property
    def url(self) -> str:
        """Where its database is, without a password."""
        return f"postgresql://shop@127.0.0.1:{self.port}/postgres"

    def run(self, *statements: str) -> None:
        """Run statements."""
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.url.replace("@", f":{quote(PASSWORD, safe='')}@"), autocommit=True) as connection:
            for statement in statements:
                with connection.cursor() as cursor:
                    cursor.execute(statement)


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    pytest.importorskip("adbc_driver_postgresql", reason='it needs: pip install "valuecast[postgres]"')
    initdb = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if initdb is None:
        pytest.skip("there is no PostgreSQL server; .ci/run installs it (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="valuecast-"))
    secret = folder / "password"
    secret.write_text(PASSWORD)
    owner = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        owner = {"user": "nobody", "extra_groups": ()}
        for path in (folder, secret):
            shutil.chown(path, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(free.getsockname()[1])
    data = str(folder / "data")
    making = [initdb, "--pgdata", data, "--no-sync", "--auth=scram-sha-256", f"--pwfile={secret}", "--username=shop"]
    subprocess.run([*making, "--encoding=UTF8", "--locale=C"], check=True, capture_output=True, cwd=folder, **owner)
    postgres = str(Path(initdb).resolve().with_name("postgres"))
    listening = ["-h", "127.0.0.1", "-p", str(server.port), "-k", str(folder), "-c", "fsync=off"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([postgres, "-D", data, *listening], cwd=folder, stdout=log, stderr=log, **owner)
    try:
        _wait(server, process, folder / "log")
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # it does not wait for its clients
        process.wait(timeout=60)
        shutil.rmtree(folder)


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0 and "ready to accept" in log.read_text():
                return
        time.sleep(0.1)
    pytest.fail(f"the PostgreSQL server did not start: {log.read_text()}")


@pytest.fixture
def server(_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A running server; the environment holds its password, as a user's would."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return _server
