"""What the tests share: engines and command lines for a server's clients, and what was printed meanwhile."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from servers import Server
from servers.browser import visit
from servers.keys import base64url, openssl

import qauth

REPOSITORY = Path(__file__).resolve().parents[2]
# The command that the wheel brings.
COMMAND = os.environ.get("QAUTH_CLI") or str(Path(sys.executable).with_name("qauth"))
NODE_APP = Path(os.environ.get("QAUTH_NODE_APP") or REPOSITORY / "build/node-app")
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Witness:
    """Hears everything that qauth says, and knows what must not be in it: secrets, keys and tokens."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.about: dict[str, Any] = server.describe()
        self.said: list[str] = []
        self.secrets: set[str] = set(_planted(self.about))
        self._log = io.StringIO()
        self._handler = logging.StreamHandler(self._log)

    def hear(self, *things: object) -> None:
        self.said += [str(thing) for thing in things]

    def token(self, source: qauth.TokenSource, **options: Any) -> qauth.Token:
        token = source.token(**options)
        self.secrets.add(token.access_token)
        self.hear(repr(token), str(token), repr(source), repr(token.extras))
        return token

    def refused(self, kind: type[qauth.Error], call: Callable[[], object]) -> qauth.Error:
        """The error that the call ends with."""
        with pytest.raises(qauth.Error) as raised:
            call()
        error = raised.value
        self.hear(*traceback.format_exception(error), repr(error), vars(error))
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        return error

    def check(self) -> None:
        """Nothing that was said holds a secret, in any spelling."""
        said = [*self.said, self._log.getvalue()]
        assert len(self.said) > 3, "nothing was heard"
        assert len(self.secrets) > 3, "nothing was secret"
        found = [secret[:4] + "…" for secret in self.secrets for text in said if _holds(text, secret)]
        assert found == []

    @contextlib.contextmanager
    def listening(self) -> Iterator[Witness]:
        logger = logging.getLogger()
        before = logger.level
        logger.addHandler(self._handler)
        logger.setLevel(logging.DEBUG)
        yield self
        logger.setLevel(before)
        logger.removeHandler(self._handler)


def _planted(about: Mapping[str, Any]) -> Iterator[str]:
    yield from filter(None, about["users"].values())
    for client in about["clients"].values():
        if "client_secret" in client:
            yield client["client_secret"]
            pair = (urllib.parse.quote_plus(client[name]) for name in ("client_id", "client_secret"))
            yield base64.b64encode(":".join(pair).encode()).decode()
        if "private_key_file" in client:
            # A line of the key, whatever stands around it.
            yield Path(client["private_key_file"]).read_text().splitlines()[1]


def _holds(text: str, secret: str) -> bool:
    spellings = {secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
    spellings.add(json.dumps(secret)[1:-1])
    spellings.add(base64.b64encode(secret.encode()).decode())
    return any(spelling in text for spelling in spellings)


class Profiles:
    """Profiles of `oauth2` and the like for one server, as engines and as configuration files of the command."""

    def __init__(self, server: Server, witness: Witness) -> None:
        self.server, self.witness = server, witness
        self.about = witness.about
        self._engines: list[qauth.Engine] = []

    def engine(self, profiles: Mapping[str, Mapping[str, Any]], **more: Any) -> qauth.Engine:
        engine = qauth.Engine({"profiles": profiles, "transport": self.transport(), **more})
        self._engines.append(engine)
        return engine

    def source(self, profile: Mapping[str, Any], **more: Any) -> qauth.TokenSource:
        return self.engine({"p": profile}, **more).source("p")

    def by_issuer(self, client: str, **keys: Any) -> dict[str, Any]:
        """A profile of the built-in provider `oauth2` that knows the issuer and the client's credentials, no more."""
        return {"provider": "oauth2", "issuer": self.server.issuer, **self.credentials(client), **keys}

    def credentials(self, client: str) -> dict[str, str]:
        known = self.about["clients"][client]
        method = known["auth_method"]
        keys = {"client_id": client}
        if "client_secret" in known:
            keys["client_secret"] = known["client_secret"]
        if method == "private_key_jwt":
            keys |= {"private_key": f"file:{known['private_key_file']}", "key_id": known["key_id"]}
        if "tls" in method:
            keys["certificate"] = f"file:{known['certificate_file']}"
            keys["certificate_key"] = f"file:{known['private_key_file']}"
        return keys

    def transport(self) -> dict[str, str]:
        return {"ca_file": self.about["ca_file"]} if "ca_file" in self.about else {}

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


class Command:
    """The command `qauth` with a configuration of its own. Where it may write is one folder."""

    def __init__(self, profiles: Profiles, folder: Path) -> None:
        self.witness, self.folder = profiles.witness, folder
        self.transport = profiles.transport()
        self.server = profiles.server
        self.environment = {**os.environ, "XDG_CONFIG_HOME": str(folder / "xdg"), "HOME": str(folder)}
        self.environment.pop("QAUTH_CONFIG", None)
        # What a command line opens as browser opens nothing.
        self.environment["BROWSER"] = "false"

    def configure(self, profile: Mapping[str, Any]) -> Path:
        """Writes the profile `p`; where a person signs in, the refresh token is kept in the file that is returned."""
        kept = self.folder / "kept" / "p.token"
        if profile.get("grant") in ("authorization_code", "device_code"):
            profile = {**profile, "refresh_token": f"file:{kept}"}
        config = {"profiles": {"p": profile}, "transport": self.transport}
        self.config = self.folder / "qauth.json"
        self.config.write_text(json.dumps(config))
        return kept

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._line(arguments),
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        self.witness.hear(done.stderr)
        if arguments[0] == "token" and done.returncode == 0 and "--header" not in arguments:
            self.witness.secrets.add(done.stdout.strip())
        else:
            self.witness.hear(done.stdout)
        return done

    def token(self) -> str:
        """What `qauth token p` prints, a process of its own."""
        done = self.run("token", "p")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def login(self, act: Callable[[str], object], until: str) -> subprocess.CompletedProcess[str]:
        """`qauth login p --no-browser`: does what a person does as soon as a line matches `until`."""
        arguments = ("login", "p", "--no-browser")
        process = subprocess.Popen(
            self._line(arguments),
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        read = {"stdout": "", "stderr": ""}
        changed = threading.Condition()

        def reader(name: str) -> None:
            for line in getattr(process, name):
                with changed:
                    read[name] += line
                    changed.notify_all()
            with changed:
                changed.notify_all()

        threads = [threading.Thread(target=reader, args=(name,), daemon=True) for name in read]
        for thread in threads:
            thread.start()

        def seen() -> re.Match[str] | None:
            return re.search(until, read["stderr"] + "\n" + read["stdout"])

        try:
            with changed:
                changed.wait_for(lambda: seen() or not any(thread.is_alive() for thread in threads), 30)
                found = seen()
            if found:
                act(found.group())
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            for thread in threads:
                thread.join(5)
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        self.witness.hear(read["stdout"], read["stderr"])
        assert found, f"login ends with status {process.returncode} and says {read}"
        return subprocess.CompletedProcess(process.args, process.returncode, read["stdout"], read["stderr"])

    def login_by_code(self, answers: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Authorization code with PKCE, in a browser without a window."""
        context = self.server.ssl_context()
        return self.login(lambda url: visit(url, context, answers), r"https?://\S+code_challenge=\S+")

    def login_by_device(self, approve: Callable[[str], object]) -> subprocess.CompletedProcess[str]:
        """Device code; `approve` gets the code that a person would type."""
        return self.login(approve, r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b")

    def _line(self, arguments: tuple[str, ...]) -> list[str]:
        return [COMMAND, *arguments, "--config", str(self.config)]


def claims(jwt: str) -> dict[str, Any]:
    """What a JWT says; its signature is the server's business."""
    payload = jwt.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def certificate_thumbprint(file: str) -> str:
    """RFC 8705 3.1: x5t#S256."""
    der = openssl("x509", "-in", file, "-outform", "DER")
    return base64url(openssl("dgst", "-sha256", "-binary", stdin=der))


def key_thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638, of a P-256 key."""
    text = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    return base64url(openssl("dgst", "-sha256", "-binary", stdin=text.encode()))


def fetch(
    url: str, context: ssl.SSLContext, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    """Status, JSON and headers of a call without qauth."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, data, dict(headers or {})), timeout=30, context=context
        )
    except urllib.error.HTTPError as error:
        response = error
    with response:
        text = response.read()
        given = "json" in (response.headers["Content-Type"] or "")
        return response.status, json.loads(text) if given else None, response.headers


def eventually(true: Callable[[], Any], limit: float = 20) -> None:
    """Waits for something that no signal tells."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
