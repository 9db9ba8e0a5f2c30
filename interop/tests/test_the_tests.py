"""What the other tests rest upon: nothing here starts a server."""

from __future__ import annotations

import base64
import urllib.parse
from pathlib import Path

import pytest
from servers import ALL, Server
from support import REPOSITORY, Witness

SECRET = "a secret+of/its own%"


class Nobody(Server):
    def describe(self) -> dict[str, object]:
        return {"users": {"ana": "password-1234"}, "clients": {"c": {"client_id": "c", "client_secret": SECRET}}}


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    witness = Witness(Nobody.__new__(Nobody))
    witness.hear("a", "b", "c", "d")
    witness.secrets |= {"token-one", "token-two"}
    return witness


def test_a_witness_that_heard_no_secret_is_content(witness: Witness) -> None:
    witness.check()


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        "password-1234",
        "token-two",
    ],
)
def test_a_witness_finds_a_secret_in_every_spelling(witness: Witness, spelling: str) -> None:
    witness.hear(f"error: something about {spelling}, and more")
    with pytest.raises(AssertionError):
        witness.check()


def test_a_witness_that_heard_nothing_is_no_witness(witness: Witness) -> None:
    witness.said.clear()
    with pytest.raises(AssertionError):
        witness.check()


@pytest.mark.parametrize("kind", ALL)
def test_the_version_is_the_one_that_the_documentation_names(kind: type[Server]) -> None:
    documented = (REPOSITORY / "docs/interop.md").read_text()
    assert f"{kind.title} {kind.version} " in documented
