"""Keycloak, from its distribution on Maven Central; the realm is read from keycloak/realm.json at every start."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import Server, free_port, need, run

REALM_FILE = Path(__file__).with_name("keycloak") / "realm.json"
VERSION = "26.7.3"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
# Part of the built server: changing one means building again.
_BUILD_OPTIONS = [
    "--db=dev-mem",
    "--cache=local",
    "--http-relative-path=/auth",
    "--https-client-auth=request",
]
_HEAP = "-Xms256m -Xmx512m -XX:TieredStopAtLevel=1"
_DETAIL = re.compile(r'(\w+)="([^"]*)"')
_AUTH_METHODS = {
    "client-secret": "client_secret_basic",
    "client-secret-jwt": "client_secret_jwt",
    "client-jwt": "private_key_jwt",
    "client-x509": "tls_client_auth",
}
_KEY_PAIRS = {"qpay-jwt-rsa": "rsa", "qpay-jwt-ec": "ec", "qpay-x509": "tls_client"}


class Keycloak(Server):
    """Realm `qpay` under `/auth`, on http and (for client certificates) https."""

    name = "keycloak"
    title = "Keycloak"
    version = VERSION

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.https_port = 0
        self._home = self.folder / f"keycloak-{VERSION}"

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/auth/realms/qpay"

    @property
    def https_issuer(self) -> str:
        """The same realm; Keycloak names itself by the address that it was asked at."""
        return f"https://127.0.0.1:{self.https_port}/auth/realms/qpay"

    @property
    def ready_url(self) -> str:
        return f"{self.issuer}/.well-known/openid-configuration"

    def _install(self) -> None:
        built = self._home / "built.json"
        if built.exists() and json.loads(built.read_text()) == _BUILD_OPTIONS:
            return
        need("java", "openjdk-17-jre-headless")
        log_file = self.workdir / "keycloak-install.log"
        if not (self._home / "unpacked").exists():
            self._unpack(log_file)
        run([self._home / "bin" / "kc.sh", "build", *_BUILD_OPTIONS], log_file, env=_java_environment())
        built.write_text(json.dumps(_BUILD_OPTIONS))

    def _unpack(self, log_file: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        download = self.folder / "download"
        download.mkdir(parents=True)
        artifact = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
        repository = f"-Dmaven.repo.local={download / 'repository'}"
        command = [need("mvn", "maven"), "-B", "-ntp", _COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={download}"]
        run([*command, repository], log_file, cwd=download)
        archive = download / f"keycloak-quarkus-dist-{VERSION}.zip"
        with open(archive, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if found != SHA256:
            raise RuntimeError(f"{archive.name} has SHA-256 {found}, not {SHA256}")
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(self.folder)
        (self._home / "bin" / "kc.sh").chmod(0o755)
        shutil.rmtree(download)
        (self._home / "unpacked").touch()

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        self.port, self.https_port = free_port(), free_port()
        imported = self._home / "data" / "import"
        imported.mkdir(parents=True, exist_ok=True)
        (imported / "qpay-realm.json").write_text(self.keys.fill_in(REALM_FILE.read_text()))
        command = [
            self._home / "bin" / "kc.sh",
            "start",
            "--optimized",
            "--import-realm",
            "--http-enabled=true",
            "--http-host=127.0.0.1",
            f"--http-port={self.port}",
            f"--https-port={self.https_port}",
            f"--https-certificate-file={self.keys.server.certificate_file}",
            f"--https-certificate-key-file={self.keys.server.key_file}",
            f"--truststore-paths={self.keys.ca_file}",
            "--hostname-strict=false",
            "--log-level=WARN,org.keycloak.events:debug",
        ]
        return command, _java_environment()

    def _leave_trace(self, word: str) -> None:
        """Of requests Keycloak logs the events, so the last one is a refusal to a client that there is not."""
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": word}).encode()
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{self.issuer}/protocol/openid-connect/token", form, timeout=10).close()

    def events(self, mark: int, client_id: str) -> list[dict[str, str]]:
        """What Keycloak itself noted of a client since `mark`, refusals too: `type`, `sessionId` and so on."""
        lines = [line for line in self.log_since(mark).splitlines() if "[org.keycloak.events]" in line]
        events = [dict(_DETAIL.findall(line)) for line in lines]
        return [event for event in events if event.get("clientId") == client_id]

    def describe(self) -> dict[str, Any]:
        realm = json.loads(REALM_FILE.read_text())
        user = realm["users"][0]
        protocol = f"{self.issuer}/protocol/openid-connect"
        return {
            "name": self.name,
            "version": self.version,
            "issuer": self.issuer,
            "https_issuer": self.https_issuer,
            "discovery": self.ready_url,
            "token_endpoint": f"{protocol}/token",
            "https_token_endpoint": f"{self.https_issuer}/protocol/openid-connect/token",
            "ca_file": str(self.keys.ca_file),
            "log_file": str(self.log_file),
            "users": {user["username"]: user["credentials"][0]["value"]},
            "clients": {client["clientId"]: self._client(client) for client in realm["clients"]},
        }

    def _client(self, client: Mapping[str, Any]) -> dict[str, str]:
        known = {"client_id": client["clientId"]}
        if client.get("publicClient"):
            return {**known, "auth_method": "none"}
        known["auth_method"] = _AUTH_METHODS[client.get("clientAuthenticatorType", "client-secret")]
        if "secret" in client:
            known["client_secret"] = client["secret"]
        if client["clientId"] in _KEY_PAIRS:
            known.update(self.describe_pair(_KEY_PAIRS[client["clientId"]]))
        return known


def _java_environment() -> dict[str, str]:
    return {**os.environ, "JAVA_OPTS_KC_HEAP": _HEAP}
