"""node-oidc-provider, from npm as oidc_provider/package-lock.json has it, with the Node.js it supports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import Server, free_port, need, run

SOURCES = Path(__file__).with_name("oidc_provider")
_KEY_PAIRS = {"jwt-rsa": "rsa", "jwt-ec": "ec", "tls": "tls_client", "tls-self-signed": "self_signed"}


class OidcProvider(Server):
    """https only; DPoP proofs need the server's nonce; refresh tokens rotate always."""

    name = "oidc-provider"
    title = "oidc-provider"
    version = str(json.loads((SOURCES / "package.json").read_text())["dependencies"]["oidc-provider"])

    @property
    def issuer(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ready_url(self) -> str:
        return f"{self.issuer}/.well-known/openid-configuration"

    def _install(self) -> None:
        lock = (SOURCES / "package-lock.json").read_text()
        installed = self.folder / "installed"
        if installed.exists() and installed.read_text() == lock:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, self.folder)
        command = [need("npm", "nodejs", "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run(command, self.workdir / "oidc-provider-install.log", cwd=self.folder)
        installed.write_text(lock)

    def _command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        self.port = free_port()
        # Modules are found from the place of the file that imports them.
        shutil.copy(SOURCES / "server.mjs", self.folder)
        config = {
            "port": self.port,
            "ca_file": str(self.keys.ca_file),
            "certificate_file": str(self.keys.server.certificate_file),
            "key_file": str(self.keys.server.key_file),
            "clients": json.loads(self.keys.fill_in((SOURCES / "clients.json").read_text())),
        }
        config_file = self.folder / "config.json"
        config_file.write_text(json.dumps(config))
        # The package that npm chose for this processor; without one, the system's own.
        found = sorted(self.folder.glob("node_modules/node-linux-*/bin/node"))
        return [found[0] if found else "node", "server.mjs", config_file], {"NODE_NO_WARNINGS": "1"}

    def describe(self) -> dict[str, Any]:
        clients = json.loads((SOURCES / "clients.json").read_text())
        return {
            "name": self.name,
            "version": self.version,
            "issuer": self.issuer,
            "discovery": self.ready_url,
            "token_endpoint": f"{self.issuer}/token",
            "api": f"{self.issuer}/api/whoami",
            "resources": [f"{self.issuer}/api", "urn:qpay:ledger"],
            "approve_device": f"{self.issuer}/test/device?user_code=",
            "ca_file": str(self.keys.ca_file),
            "log_file": str(self.log_file),
            "users": {"ana": None},
            "clients": {client["client_id"]: self._client(client) for client in clients},
        }

    def _client(self, client: Mapping[str, Any]) -> dict[str, Any]:
        known = {key: client[key] for key in ("client_id", "client_secret", "scope") if key in client}
        known["auth_method"] = client["token_endpoint_auth_method"]
        if client["client_id"] in _KEY_PAIRS:
            known.update(self.describe_pair(_KEY_PAIRS[client["client_id"]]))
        return known
