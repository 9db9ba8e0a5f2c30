"""Test keys and certificates, made once with the openssl command and kept under the work folder."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .base import need

CA_SUBJECT = "/O=qauth interop/CN=qauth interop test CA"
TLS_CLIENT_SUBJECT = "/O=qauth interop/CN=tls-client"
# The same names as RFC 4514 writes them: last part first.
CA_SUBJECT_DN = "CN=qauth interop test CA,O=qauth interop"
TLS_CLIENT_SUBJECT_DN = "CN=tls-client,O=qauth interop"
_DAYS = "3650"


def openssl(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Pair:
    """A private key (PKCS #8, PEM) and its certificate."""

    name: str
    alg: str
    key_file: Path
    certificate_file: Path

    def jwk(self) -> dict[str, object]:
        """The public key, with the certificate as `x5c` (self_signed_tls_client_auth compares that)."""
        der = openssl("pkey", "-in", self.key_file, "-pubout", "-outform", "DER")
        certificate = openssl("x509", "-in", self.certificate_file, "-outform", "DER")
        common = {"kid": self.name, "alg": self.alg, "use": "sig", "x5c": [base64.b64encode(certificate).decode()]}
        if self.alg == "ES256":
            # A P-256 SubjectPublicKeyInfo ends with the uncompressed point: 4, x, y.
            return {"kty": "EC", "crv": "P-256", "x": base64url(der[-64:-32]), "y": base64url(der[-32:]), **common}
        modulus = openssl("rsa", "-in", self.key_file, "-noout", "-modulus").decode().strip().partition("=")[2]
        return {"kty": "RSA", "n": base64url(bytes.fromhex(modulus)), "e": "AQAB", **common}

    def jwks(self) -> dict[str, object]:
        return {"keys": [self.jwk()]}


class Keys:
    """Everything a client or a server needs to prove itself; `make()` creates what is not there yet."""

    def __init__(self, workdir: Path) -> None:
        self.folder = workdir / "keys"
        self.ca = self._pair("ca", "ES256")
        self.server = self._pair("server", "RS256")
        self.rsa = self._pair("rsa", "RS256")
        self.ec = self._pair("ec", "ES256")
        self.tls_client = self._pair("tls-client", "ES256")
        self.self_signed = self._pair("self-signed", "ES256")

    @property
    def ca_file(self) -> Path:
        return self.ca.certificate_file

    def make(self) -> None:
        complete = self.folder / "complete"
        if complete.exists():
            return
        need("openssl", "openssl")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ca = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        self._issue(self.ca, CA_SUBJECT, ca, signed_by=None)
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
        self._issue(self.server, "/CN=127.0.0.1", [names, "extendedKeyUsage=serverAuth"], signed_by=self.ca)
        self._issue(self.tls_client, TLS_CLIENT_SUBJECT, ["extendedKeyUsage=clientAuth"], signed_by=self.ca)
        for pair in (self.rsa, self.ec, self.self_signed):
            self._issue(pair, f"/CN={pair.name}", ["extendedKeyUsage=clientAuth"], signed_by=None)
        complete.touch()

    def fill_in(self, text: str) -> str:
        """Puts keys in place of `@jwks:NAME@` and the like, where a JSON text has these as strings."""
        for pair in (self.rsa, self.ec, self.tls_client, self.self_signed):
            jwks = json.dumps(pair.jwks())
            text = text.replace(f'"@jwks:{pair.name}@"', jwks).replace(f'"@jwks-text:{pair.name}@"', json.dumps(jwks))
        return text.replace("@tls-client-subject@", TLS_CLIENT_SUBJECT_DN).replace("@ca-subject@", CA_SUBJECT_DN)

    def _pair(self, name: str, alg: str) -> Pair:
        return Pair(name, alg, self.folder / f"{name}.key", self.folder / f"{name}.pem")

    def _issue(self, pair: Pair, subject: str, extensions: list[str], *, signed_by: Pair | None) -> None:
        if pair.alg == "ES256":
            kind = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"]
        else:
            kind = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        openssl("genpkey", *kind, "-out", pair.key_file)
        pair.key_file.chmod(0o600)
        wanted = ["req", "-x509", "-new", "-key", pair.key_file, "-subj", subject, "-days", _DAYS, "-sha256"]
        if signed_by is not None:
            wanted += ["-CA", signed_by.certificate_file, "-CAkey", signed_by.key_file]
            extensions = ["basicConstraints=critical,CA:FALSE", *extensions]
        for extension in extensions:
            wanted += ["-addext", extension]
        # The system's own openssl.cnf adds CA:TRUE to `req -x509`; an empty one adds nothing.
        config = self.folder / "openssl.cnf"
        config.write_text("[req]\ndistinguished_name = name\n[name]\n")
        openssl(*wanted, "-config", config, "-out", pair.certificate_file)
