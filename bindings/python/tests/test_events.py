"""What happens to tokens, in the standard logging and as counters."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_open
from prometheus_client.parser import text_string_to_metric_families as parsed_classic
from support import SECRETS, Sim, forked, run

import qauth
from qauth._events import log
from qauth._qauth import log_events

LOGGER = logging.getLogger("qauth")


class Heard(logging.Handler):
    """Keeps the records; `then` is what the handler does besides."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.then: Callable[[], Any] = lambda: None

    def handle(self, record: logging.LogRecord) -> bool:
        # In place of `emit`, whose errors logging catches by itself.
        self.records.append(record)
        self.then()
        return True

    def take(self) -> list[logging.LogRecord]:
        taken, self.records = self.records, []
        return taken

    def kinds(self) -> list[str]:
        return [vars(record)["qauth_event"] for record in self.take()]


@pytest.fixture
def heard() -> Iterator[Heard]:
    # What the tests before have left.
    log_events()
    handler, before = Heard(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    yield handler
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(before)


def times_passes(sim: Sim, engine: qauth.Engine, seconds: float) -> None:
    sim.post("clock", freeze=True, advance=seconds)
    engine.advance(seconds)


def failing(sim: Sim, **more: Any) -> None:
    sim.fault("quiqup", "token", **{"status": 500, "times": 1000, **more})


def test_a_record_says_what_happened_to_whom_why_and_when(
    engine: qauth.Engine, source: qauth.TokenSource, heard: Heard
) -> None:
    engine.advance(30)
    token = source.token()
    assert token.expires_at is not None
    (record,) = heard.take()
    assert (record.name, record.levelname) == ("qauth", "DEBUG")
    assert record.getMessage() == 'profile "quiqup": token obtained in 0.000 s (first_use)'
    fields = {name: value for name, value in vars(record).items() if name.startswith("qauth_")}
    assert fields == {
        "qauth_event": "obtained",
        "qauth_profile": "quiqup",
        "qauth_provider": "quiqup",
        "qauth_reason": "first_use",
        "qauth_seconds": 0.0,
        "qauth_code": None,
        "qauth_generation": token.generation,
        "qauth_lost": 0,
    }
    # The engine's own time, 30 s from ours.
    assert record.created == pytest.approx(token.expires_at.timestamp() - 3600, abs=0.01)
    assert record.msecs == pytest.approx(record.created % 1 * 1000, abs=1)
    assert logging.Formatter("%(asctime)s %(module)s %(relativeCreated)d").format(record)


def test_levels_go_by_severity(sim: Sim, source: qauth.TokenSource, heard: Heard) -> None:
    token = source.token()
    source.invalidate(token)
    failing(sim, status=401, body={"error": "invalid_client"})
    with pytest.raises(qauth.InvalidClientError):
        source.token()
    names = ("qauth_event", "qauth_code", "qauth_generation")
    assert [(record.levelno, *(vars(record)[name] for name in names)) for record in heard.take()] == [
        (logging.DEBUG, "obtained", None, token.generation),
        (logging.INFO, "invalidated", None, token.generation),
        (logging.WARNING, "failed", "invalid_client", None),
    ]


def test_what_the_logger_does_not_want_is_not_made(
    source: qauth.TokenSource, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(LOGGER, "makeRecord", lambda *given: made.append(given))
    LOGGER.setLevel(logging.INFO)
    source.token()
    assert (made, heard.take()) == ([], [])


def test_a_failed_renewal_behind_is_logged_and_not_raised_while_the_token_is_valid(
    sim: Sim, engine: qauth.Engine, heard: Heard
) -> None:
    sim.post("clock", freeze=True)
    source = engine.source("quiqup", mode="background")
    token = source.token()
    failing(sim)
    times_passes(sim, engine, 3310)
    first, *_ = [record for record in heard.take() if vars(record)["qauth_event"] == "failed"]
    assert (first.levelno, vars(first)["qauth_reason"], vars(first)["qauth_code"]) == (30, "ahead", "server_error")
    assert source.token() is token
    assert source.header() == token.header_value
    assert heard.kinds() == ["served_while_failing"]


def leave_pending(engine: qauth.Engine, heard: Heard) -> None:
    """An event that nobody has logged yet: one that comes while a handler runs waits for the next call."""
    other, source = engine.source("qpay"), engine.source("quiqup")
    token, late = other.token(), source.token()
    heard.then = lambda: source.invalidate(late)
    assert other.invalidate(token)
    heard.then = lambda: None
    assert heard.take()[-1].getMessage().startswith('profile "qpay": token rejected')


CALLS: dict[str, Callable[[qauth.Engine, qauth.TokenSource], Any]] = {
    "token": lambda _, source: source.token(),
    "header": lambda _, source: source.header(),
    "headers": lambda _, source: source.headers("GET", "/orders"),
    "request": lambda _, source: source.request("GET", "/orders"),
    "token_async": lambda _, source: source.token_async().close(),
    "header_async": lambda _, source: source.header_async().close(),
    "call_async": lambda _, source: source.call_async("nothing").close(),
    "reset": lambda _, source: source.reset(),
    "update": lambda _, source: source.update(),
    "scoped": lambda _, source: source.scoped(),
    "requests": lambda _, source: source._answered(f"{source.api_base_url}/orders", 0, 200),
    "profiles": lambda engine, _: engine.profiles(),
    "metrics": lambda engine, _: engine.metrics(),
    "records": lambda engine, _: engine.records(),
    "clear": lambda engine, _: engine.clear("quiqup"),
    "prometheus": lambda engine, _: engine.prometheus(),
    "source": lambda engine, _: engine.source("quiqup"),
    "custom_source": lambda engine, _: engine.custom_source("own", lambda: "a"),
    "remove": lambda engine, _: engine.remove("nothing"),
    "advance": lambda engine, _: engine.advance(0),
    "another engine": lambda *_: qauth.Engine(),
    "close": lambda engine, _: engine.close(),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_came_between_two_calls_is_logged_by_the_next_one(
    engine: qauth.Engine, source: qauth.TokenSource, heard: Heard, name: str
) -> None:
    leave_pending(engine, heard)
    CALLS[name](engine, source)
    assert heard.kinds()[:1] == ["invalidated"]
    engine.profiles()
    assert "invalidated" not in heard.kinds(), "it is logged once"


def test_asyncio_has_logged_what_a_result_came_of(source: qauth.TokenSource, heard: Heard) -> None:
    async def main() -> None:
        await source.token_async()
        assert heard.kinds() == ["obtained"]
        # On the loop's own thread.
        assert threading.current_thread() is threading.main_thread()

    heard.then = lambda: threads.add(threading.get_ident())
    threads: set[int] = set()
    asyncio.run(main())
    assert threads == {threading.get_ident()}


def test_threads_log_an_event_once_between_them(source: qauth.TokenSource, heard: Heard) -> None:
    before = threading.active_count()
    threads = [threading.Thread(target=source.token) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.token()
    assert heard.kinds() == ["obtained"]
    assert threading.active_count() == before


def test_a_handler_may_use_the_source_of_the_event(source: qauth.TokenSource, heard: Heard) -> None:
    # fault 59: neither a deadlock nor an endless recursion, though each record makes the next event.
    depth, deepest = 0, 0

    def use() -> None:
        nonlocal depth, deepest
        depth, deepest = depth + 1, max(depth + 1, deepest)
        token = source.token()
        assert source.header() == token.header_value
        asyncio.run(source.header_async())
        source.invalidate(token)
        depth -= 1

    heard.then = use
    assert source.token().access_token
    assert heard.kinds() == ["obtained"]
    source.reset()
    assert heard.kinds() == ["invalidated"]
    heard.then = lambda: None
    source.reset()
    assert heard.kinds() == ["obtained", "invalidated"]
    assert deepest == 1


def test_what_a_handler_raises_breaks_no_call(
    engine: qauth.Engine, source: qauth.TokenSource, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append((type(args.exc_value), args.object)))

    def fail() -> None:
        raise ZeroDivisionError

    heard.then = fail
    assert source.token().access_token
    assert asyncio.run(engine.source("qpay").token_async()).access_token
    assert told == [(ZeroDivisionError, log)] * 2
    heard.then = lambda: None
    source.invalidate(source.token())
    assert heard.kinds()[-1] == "invalidated", "the next ones are logged"


def test_an_interruption_inside_a_handler_ends_the_call(source: qauth.TokenSource, heard: Heard) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    heard.then = interrupt
    with pytest.raises(KeyboardInterrupt):
        source.token()
    heard.then = lambda: None
    assert source.token().access_token


def test_an_interruption_inside_a_handler_loses_no_other_event(engine: qauth.Engine, heard: Heard) -> None:
    sources = [engine.custom_source(f"own{number}", lambda: ("t", 600)) for number in range(4)]
    first, *others = [(source, source.token()) for source in sources]
    heard.then = lambda: [source.invalidate(token) for source, token in others]
    first[0].invalidate(first[1])
    heard.take()

    def interrupt() -> None:
        raise KeyboardInterrupt

    heard.then = interrupt
    with pytest.raises(KeyboardInterrupt):
        engine.profiles()
    heard.then = lambda: None
    engine.profiles()
    assert [vars(record)["qauth_profile"] for record in heard.take()] == ["own1", "own2", "own3"]


def test_a_child_of_fork_logs_its_own_events_alone(
    engine: qauth.Engine, source: qauth.TokenSource, heard: Heard
) -> None:
    leave_pending(engine, heard)

    def child() -> None:
        engine.profiles()
        assert heard.kinds() == [], "they are the parent's"
        source.token()
        assert heard.kinds() == ["obtained"]

    forked(child)
    engine.profiles()
    assert heard.kinds() == ["invalidated"]


@pytest.mark.parametrize("vendor", ["quantaprice", "quiqup", "quable", "quartile", "qpay"])
def test_no_record_shows_a_secret_or_token(sim: Sim, heard: Heard, vendor: str) -> None:
    key = "password" if vendor in ("quable", "quartile") else "client_secret"
    canary = "deadbeef" * 8
    with qauth.Engine({"profiles": {vendor: sim.profile(vendor)}, "testing": {"clock": "manual"}}) as engine:
        source = engine.source(vendor)
        token = source.token()
        source.invalidate(token)
        source.update(**{key: canary})
        echo = {"error": "invalid_client", "error_description": f"bad {canary} and {token.access_token}"}
        sim.fault(vendor, "token", status=401, body=echo, times=9)
        with pytest.raises(qauth.Error):
            source.token()
        counted = json.dumps(engine.metrics()) + engine.prometheus()
    records = heard.take()
    assert {vars(record)["qauth_event"] for record in records} >= {"obtained", "invalidated", "failed"}
    shown = "".join(repr(vars(record)) + record.getMessage() for record in records) + counted
    for secret in (*SECRETS, canary, token.access_token):
        assert secret not in shown


def test_events_that_were_lost_are_told_of(heard: Heard) -> None:
    event = SimpleNamespace(
        level=30,
        kind="failed",
        profile="p",
        provider="v",
        reason="ahead",
        seconds=0.1,
        generation=None,
        code="network",
        at=1.0,
        lost=7,
    )
    log(event)  # type: ignore[arg-type]
    (record,) = heard.take()
    assert record.getMessage().endswith(" (7 events before this one were lost)")
    assert vars(record)["qauth_lost"] == 7
    assert (record.created, record.msecs) == (1.0, 0.0)


def test_the_shared_engine_logs_too(sim: Sim, heard: Heard) -> None:
    keys = sim.profile("qpay")
    del keys["provider"]
    qauth.source("qpay", **keys).token()
    assert "obtained" in heard.kinds()


# Other processes


def test_nobody_imports_logging_for_a_program_that_does_not(sim: Sim) -> None:
    script = """
import json, sys
import qauth
with qauth.Engine(json.loads(sys.argv[1])) as engine:
    source = engine.source("quiqup")
    source.invalidate(source.token())
    source.update(client_secret="wrong")
    try:
        source.token()
    except qauth.InvalidClientError as error:
        print(error.code)
assert "logging" not in sys.modules
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, json.dumps(sim.config())], capture_output=True, text=True, timeout=30
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("invalid_client\n", "", 0)


WRONG = """
import logging
with sim.engine() as engine:
    source = engine.source("quiqup", client_secret="wrong")
    {before}
    try:
        source.token()
    except qauth.InvalidClientError as error:
        pass
"""


def test_a_program_that_has_not_set_up_logging_sees_no_warning(sim: Sim) -> None:
    assert run(sim, WRONG.format(before="")).cleanly() == ""


def test_a_program_that_has_sees_them(sim: Sim) -> None:
    before = 'logging.basicConfig(stream=sys.stdout, format="%(levelname)s:%(name)s:%(message)s")'
    out = run(sim, WRONG.format(before=before)).cleanly()
    assert out.startswith('WARNING:qauth:profile "quiqup": no token after ')


def test_the_last_events_are_logged_at_exit_before_handlers_are_closed(sim: Sim) -> None:
    script = """
import logging
class Handler(logging.StreamHandler):
    then = None
    def emit(self, record):
        assert not getattr(self, "closed", False)
        super().emit(record)
        if self.then:
            then, self.then = self.then, None
            then()
    def close(self):
        self.closed = True
        super().close()
handler = Handler(sys.stdout)
logging.basicConfig(handlers=[handler], format="%(qauth_event)s", level=logging.INFO)
engine = sim.engine()
source, other = engine.source("quiqup"), engine.source("qpay")
token, late = source.token(), other.token()
handler.then = lambda: other.invalidate(late)
source.invalidate(token)
print("the end")
"""
    assert run(sim, script).cleanly() == "invalidated\nthe end\ninvalidated\n"


# Counters


def test_metrics_are_counted_by_profile(sim: Sim, engine: qauth.Engine, source: qauth.TokenSource) -> None:
    assert engine.metrics() == {"sources": 1, "evicted": 0, "store_degraded": False, "profiles": {}}
    token = source.token()
    source.invalidate(token)
    failing(sim, status=401, body={"error": "invalid_client"})
    with pytest.raises(qauth.InvalidClientError):
        source.token()
    assert token.expires_at is not None
    found = engine.metrics()["profiles"]["quiqup"]
    events = {name: count for name, count in found.pop("events").items() if count}
    assert events == {"obtained": 1, "invalidated": 1, "failed": 1}
    assert found == {
        "provider": "quiqup",
        "failures": {"invalid_client": 1},
        "requests": 2,
        "renewals": 2,
        "renewal_seconds": 0.0,
        "expires_at": int(token.expires_at.timestamp()),
        "clock_skew": 0.0,
    }


@pytest.mark.parametrize("parsed", [parsed_open, parsed_classic])
def test_prometheus_reads_the_counters(
    engine: qauth.Engine, source: qauth.TokenSource, parsed: Callable[[str], Any]
) -> None:
    token = source.token()
    samples = [sample for family in parsed(engine.prometheus()) for sample in family.samples]
    about = {"profile": "quiqup", "provider": "quiqup"}

    def value(name: str, **labels: str) -> float:
        (found,) = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
        return float(found)

    assert value("qauth_sources") == 1
    assert value("qauth_events_total", **about, event="obtained") == 1
    assert value("qauth_token_requests_total", **about) == 1
    assert value("qauth_renewal_duration_seconds_count", **about) == 1
    assert value("qauth_renewal_duration_seconds_bucket", **about, le="+Inf") == 1
    assert token.expires_at is not None
    assert value("qauth_token_expires_timestamp_seconds", **about) == int(token.expires_at.timestamp())
