"""Interpreters beside the main one, as mod_wsgi makes them."""

from __future__ import annotations

from support import Sim, run

IN_ANOTHER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

other = interpreters.create()
attempt = '''
try:
    import qauth
except ImportError as error:
    print("refused:", error)
else:
    print("imported")
'''
interpreters.run_string(other, attempt)
interpreters.destroy(other)
engine = qauth.Engine()
try:
    engine.source("nobody")
except qauth.ConfigError:
    print("fine")
"""


def test_one_interpreter_of_a_process_has_the_package(sim: Sim) -> None:
    # fault 79
    first, second = run(sim, IN_ANOTHER).cleanly().splitlines()
    assert first.startswith("refused:")
    assert second == "fine"
