"""Doorkeeper in a one-file Rails application, all from Debian's packages."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import Server, apt_get, free_port, need

RACKUP = Path(__file__).with_name("doorkeeper") / "config.ru"
PACKAGES = ["ruby-doorkeeper", "ruby-railties", "ruby-activerecord", "ruby-actionpack", "ruby-sqlite3", "puma"]
USERS = {"ana": "Corr3ct-horse-battery"}
CLIENTS = [
    {"client_id": "orders", "client_secret": "orders-secret-0d7e61", "auth_method": "client_secret_basic"},
    {"client_id": "console", "client_secret": "console-secret-a4b18c", "auth_method": "client_secret_post"},
    {"client_id": "app", "auth_method": "none"},
]


class Doorkeeper(Server):
    """Plain http; answers carry `created_at`, and a client gets the token that it has already while that is fresh."""

    name = "doorkeeper"
    title = "Doorkeeper"
    # What Debian 12 has; describe() tells what is there.
    version = "5.5.0"

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ready_url(self) -> str:
        return f"{self.issuer}/ready"

    def _install(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        need("ruby", *PACKAGES)
        if self._installed_version() is None:
            apt_get(*PACKAGES)

    def _installed_version(self) -> str | None:
        program = "require 'sqlite3'; require 'puma'; require 'action_controller'; require 'active_record'; \
            require 'doorkeeper/version'; print Doorkeeper::VERSION::STRING"
        done = subprocess.run(["ruby", "-e", program], capture_output=True, check=False, text=True)
        return done.stdout if done.returncode == 0 else None

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        self.port = free_port()
        database = self.folder / "tokens.sqlite3"
        for leftover in self.folder.glob("tokens.sqlite3*"):
            leftover.unlink()
        config_file = self.folder / "config.json"
        config = {"database": str(database), "users": USERS, "clients": CLIENTS}
        config_file.write_text(json.dumps(config))
        command = ["puma", "--bind", f"tcp://127.0.0.1:{self.port}", "--threads", "1:5", RACKUP]
        return command, {"INTEROP_CONFIG": str(config_file), "RAILS_ENV": "production", "RACK_ENV": "production"}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self._installed_version() or self.version,
            "issuer": self.issuer,
            "discovery": None,
            "token_endpoint": f"{self.issuer}/oauth/token",
            "authorization_endpoint": f"{self.issuer}/oauth/authorize",
            "introspection_endpoint": f"{self.issuer}/oauth/introspect",
            "revocation_endpoint": f"{self.issuer}/oauth/revoke",
            "api": f"{self.issuer}/api/whoami",
            "log_file": str(self.log_file),
            "users": USERS,
            "clients": {client["client_id"]: client for client in CLIENTS},
        }
