"""The types: that programs check against them, and that they say what the module is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import qauth

TESTS = Path(__file__).parent


def checked(module: str, *arguments: str, folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_program_that_uses_everything_passes_mypy_strict(tmp_path: Path) -> None:
    checked("mypy", "--strict", "--cache-dir", str(tmp_path), str(TESTS / "typed_use.py"), folder=tmp_path)


def test_the_package_itself_passes_mypy_strict(tmp_path: Path) -> None:
    checked("mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "qauth", folder=tmp_path)


def test_the_stub_says_what_the_module_is(tmp_path: Path) -> None:
    checked("mypy.stubtest", "qauth._qauth", "--allowlist", str(TESTS / "stubtest_allowlist.txt"), folder=tmp_path)


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(qauth.__file__).parent / "py.typed").exists()
