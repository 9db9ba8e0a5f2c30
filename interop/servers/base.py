"""What the servers share: a work folder, installing, a process group of their own, waiting until ready."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from .keys import Keys, Pair

    Self = Any

REPOSITORY = Path(__file__).resolve().parents[2]
WORKDIR = REPOSITORY / "build" / "interop"
# Each server writes this line into its log for each request that it has answered.
_ACCESS = re.compile(r"access: (\S+) (\S+) (\d{3})(?: (\S+))?")


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; no query and no body. `host` is what it was asked as, where the server says."""

    method: str
    path: str
    status: int
    host: str | None


class Server:
    """One authorization server: `with Keycloak() as server: server.issuer`.

    A subclass says how to install it, which command runs it and what clients it has. Start servers from a thread
    that outlives them: they are told to end when the thread that started them is gone, so that a killed run
    leaves nothing behind.
    """

    name: str
    # What people call it.
    title: str
    version: str
    start_limit_s = 120

    def __init__(self, workdir: Path | str = WORKDIR) -> None:
        from .keys import Keys

        self.workdir = Path(workdir).resolve()
        self.folder = self.workdir / self.name
        self.log_file = self.workdir / f"{self.name}.log"
        self.keys: Keys = Keys(self.workdir)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    # What a subclass gives.

    def _install(self) -> None:
        raise NotImplementedError

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        """The command and what it needs in its environment; picks the ports."""
        raise NotImplementedError

    @property
    def issuer(self) -> str:
        raise NotImplementedError

    @property
    def ready_url(self) -> str:
        """Answers 200 as soon as the server works."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Everything a client has to know, ready for JSON."""
        raise NotImplementedError

    # What a caller uses.

    def install(self) -> None:
        """Downloads and builds what is missing under the work folder; quick when nothing is."""
        self.workdir.mkdir(parents=True, exist_ok=True)
        with locked(self.workdir / "install.lock"):
            self.keys.make()
            self._install()

    def start(self) -> dict[str, Any]:
        """Starts the server, waits until it answers, and describes it."""
        self.launch()
        self.wait_ready()
        return self.describe()

    def launch(self) -> None:
        """Starts the server without waiting, so that several can start together."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} is already started")
        command, environment = self._command()
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "TERM", *command]
        with open(self.log_file, "wb") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.stop)

    def wait_ready(self) -> None:
        limit = time.monotonic() + self.start_limit_s
        while True:
            assert self._process is not None, "launch() comes first"
            if self._process.poll() is not None:
                status = self._process.returncode
                self.stop()
                raise RuntimeError(f"{self.name} ended with status {status}\n{self.log_tail()}")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(self.ready_url, timeout=5, context=self.ssl_context()),
            ):
                return
            if time.monotonic() > limit:
                self.stop()
                raise RuntimeError(f"{self.name} was not ready within {self.start_limit_s} s\n{self.log_tail()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the server and everything it started; harmless when it is not running."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is None:
            return
        for signal_number, limit_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(limit_s)
                break
        # What a shell in between left of its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def ssl_context(self, certificate: str | None = None) -> ssl.SSLContext:
        """Trusts the test CA; `certificate` is the name of a key pair to present, such as `tls_client`."""
        context = ssl.create_default_context(cafile=str(self.keys.ca_file))
        if certificate is not None:
            pair = getattr(self.keys, certificate)
            context.load_cert_chain(pair.certificate_file, pair.key_file)
        return context

    def describe_pair(self, name: str) -> dict[str, str]:
        """How `describe()` tells a client's key: `name` as in Keys."""
        pair: Pair = getattr(self.keys, name)
        return {
            "key_id": pair.name,
            "alg": pair.alg,
            "private_key_file": str(pair.key_file),
            "certificate_file": str(pair.certificate_file),
        }

    def mark(self) -> int:
        """Where the log ends now: what is answered from here on is what `since` tells."""
        self.log_since(0)
        return self.log_file.stat().st_size

    def log_since(self, mark: int) -> str:
        """What the server has written since `mark`, of all requests that are answered by now."""
        # A request that comes last: once it is in the log, all before it are.
        last = f"last-{uuid.uuid4()}"
        self._leave_trace(last)
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            with open(self.log_file, "rb") as log:
                log.seek(mark)
                text = log.read().decode(errors="replace")
            if last in text:
                return "".join(line for line in text.splitlines(keepends=True) if last not in line)
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not log the request {last}\n{self.log_tail()}")

    def _leave_trace(self, word: str) -> None:
        """Sends a request that the server logs with this word, and that changes nothing."""
        address = f"{self.ready_url.partition('/.well-known')[0].removesuffix('/ready')}/{word}"
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(address, timeout=10, context=self.ssl_context()).close()

    def since(self, mark: int, method: str = "", path_end: str = "") -> list[Request]:
        """The requests that were answered since `mark`."""
        found = _ACCESS.findall(self.log_since(mark))
        requests = [Request(one, path, int(status), host or None) for one, path, status, host in found]
        return [seen for seen in requests if method in ("", seen.method) and seen.path.endswith(path_end)]

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-30:])
        return ""

    def __enter__(self) -> Self:
        self.install()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def running(servers: Sequence[Server]) -> Iterator[None]:
    """All of them at once: they install one after another and start together."""
    try:
        for server in servers:
            server.install()
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_ready()
        yield
    finally:
        for server in servers:
            server.stop()


def run(command: Sequence[str | Path], log_file: Path, **options: Any) -> None:
    """Runs one step of an installation; on failure the error shows the end of its output."""
    with open(log_file, "ab") as log:
        log.write(f"$ {' '.join(map(str, command))}\n".encode())
        log.flush()
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            **options,
        )
    if done.returncode != 0:
        tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-30:])
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}\n{tail}")


def need(command: str, *packages: str) -> str:
    """The path of a command, from Debian's packages if it is not there yet."""
    found = shutil.which(command)
    if found:
        return found
    wanted = " ".join(packages)
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        raise RuntimeError(f"{command} is not installed; on Debian: apt-get install {wanted}")
    apt_get(*packages)
    found = shutil.which(command)
    if not found:
        raise RuntimeError(f"{wanted} installed, but there is still no command {command}")
    return found


def apt_get(*packages: str) -> None:
    WORKDIR.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log_file = WORKDIR / "apt.log"
    run(["apt-get", "update", "-q"], log_file, env=environment)
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], log_file, env=environment)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One installation at a time, whoever asks."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """A port of 127.0.0.1 that nobody else is given for the next minute.

    A connection closed by the listening side leaves the port in TIME_WAIT: the system then gives it to no one who
    asks for any port, while a server that asks for this one (SO_REUSEADDR) gets it.
    """
    with socket.socket() as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.close()
        client.recv(1)
        return int(listener.getsockname()[1])
