"""Authlib's authorization server on Flask, from PyPI as authlib/requirements.txt has it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import Server, apt_get, free_port, run

SOURCES = Path(__file__).with_name("authlib")
USERS = {"ana": "Corr3ct-horse-battery"}
_KEY_PAIRS = {"jwt-rsa": "rsa", "jwt-ec": "ec"}


class Authlib(Server):
    """https; the issuer has a path; password, refresh with rotation, client credentials and jwt-bearer (RFC 7523)."""

    name = "authlib"
    title = "Authlib"
    version = (SOURCES / "requirements.txt").read_text().partition("Authlib==")[2].split()[0]

    @property
    def issuer(self) -> str:
        return f"https://127.0.0.1:{self.port}/oauth"

    @property
    def ready_url(self) -> str:
        return f"https://127.0.0.1:{self.port}/.well-known/oauth-authorization-server/oauth"

    def _install(self) -> None:
        requirements = (SOURCES / "requirements.txt").read_text()
        installed = self.folder / "installed"
        if installed.exists() and installed.read_text() == requirements:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        log_file = self.workdir / "authlib-install.log"
        try:
            import ensurepip  # noqa: F401  (what Debian leaves out of its python3)
        except ImportError:
            apt_get("python3-venv")
        run([sys.executable, "-m", "venv", self.folder / "venv"], log_file)
        pip = [self.folder / "venv" / "bin" / "pip", "install", "--disable-pip-version-check", "--no-deps"]
        run([*pip, "-r", SOURCES / "requirements.txt"], log_file)
        installed.write_text(requirements)

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        self.port = free_port()
        config = {
            "issuer": self.issuer,
            "port": self.port,
            "certificate_file": str(self.keys.server.certificate_file),
            "key_file": str(self.keys.server.key_file),
            "users": USERS,
            "clients": json.loads(self.keys.fill_in((SOURCES / "clients.json").read_text())),
        }
        config_file = self.folder / "config.json"
        config_file.write_text(json.dumps(config))
        return [self.folder / "venv" / "bin" / "python", SOURCES / "app.py", config_file], {}

    def describe(self) -> dict[str, Any]:
        clients = json.loads((SOURCES / "clients.json").read_text())
        return {
            "name": self.name,
            "version": self.version,
            "issuer": self.issuer,
            "discovery": self.ready_url,
            "token_endpoint": f"{self.issuer}/token",
            "api": f"https://127.0.0.1:{self.port}/api/whoami",
            "ca_file": str(self.keys.ca_file),
            "log_file": str(self.log_file),
            "users": USERS,
            "clients": {client["client_id"]: self._client(client) for client in clients},
        }

    def _client(self, client: Mapping[str, Any]) -> dict[str, Any]:
        known = {key: value for key, value in client.items() if key != "jwks"}
        if client["client_id"] in _KEY_PAIRS:
            known.update(self.describe_pair(_KEY_PAIRS[client["client_id"]]))
        return known
