"""The Python drivers: each line becomes one call of the package ``qauth``.

``driver.py sync`` makes the blocking calls, ``driver.py asyncio`` those that are awaited.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from concurrent.futures import Future
from typing import Any
from urllib.parse import unquote

import qauth

Reply = list[tuple[str, str]]
CLASSES = [known for known in vars(qauth).values() if isinstance(known, type) and issubclass(known, qauth.Error)]
ERRORS = {known.code: known for known in CLASSES}
MAKE = ("engine", "engine_from_file")
compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def escaped(text: str) -> str:
    """Each byte up to 0x20, %, 0x7f and everything beyond ASCII as %XX."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in text.encode())


def line(word: str, fields: Reply) -> str:
    return "\t".join([word, *(f"{name}={escaped(value)}" for name, value in fields)])


def refused(error: qauth.Error) -> str:
    fields = [("code", error.code), ("message", str(error)), ("retryable", str(error.retryable).lower())]
    for name in ("profile", "provider", "status", "server_error", "server_error_description", "retry_after"):
        value = getattr(error, name)
        if value is not None:
            fields.append((name, str(value)))
    if error.answer is not None:
        fields.append(("answer", compact(error.answer)))
    return line("error", fields)


def headers(items: Any) -> Reply:
    return [(f"header.{name}", value) for name, value in items]


class Events(logging.Handler):
    """What the engine has told since somebody asked."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.events: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        names = ("event", "profile", "provider", "reason", "seconds", "generation", "code")
        event = {"kind" if name == "event" else name: getattr(record, f"qauth_{name}") for name in names}
        told = {name: value for name, value in event.items() if value is not None}
        self.events.append({**told, "severity": record.levelname.lower()})

    def take(self) -> list[dict[str, Any]]:
        taken, self.events = self.events, []
        return taken


class Driver:
    """What the driver holds, and the calls that are the same either way."""

    engine: qauth.Engine | None = None
    current: qauth.TokenSource | None = None
    last: qauth.Token | None = None
    custom_calls = 0

    def __init__(self) -> None:
        self.events = Events()
        logger = logging.getLogger("qauth")
        logger.addHandler(self.events)
        logger.setLevel(logging.DEBUG)

    @property
    def source(self) -> qauth.TokenSource:
        assert self.current is not None
        return self.current

    def token_reply(self, token: qauth.Token) -> Reply:
        self.last = token
        reply = [("access_token", token.access_token), ("token_type", token.token_type)]
        if token.expires_in is not None:
            reply.append(("expires_in", repr(token.expires_in)))
        if token.scope is not None:
            reply.append(("scope", token.scope))
        return [*reply, ("extras", compact(token.extras))]

    def make(self, command: str, config: str) -> Reply:
        self.end()
        self.current = self.last = None
        if command == "engine_from_file":
            self.engine = qauth.Engine.from_file(config)
        else:
            self.engine = qauth.Engine(json.loads(config)) if is_object(config) else qauth.Engine.from_json(config)
        self.events.take()
        return []

    def end(self) -> None:
        if self.engine is not None:
            self.engine.close()

    def function(self, results: list[str]) -> Any:
        """A token function that gives the results in turn."""
        return lambda: self.given(results)

    def given(self, results: list[str]) -> tuple[str, float | None]:
        at = 3 * min(self.custom_calls, len(results) // 3 - 1)
        self.custom_calls += 1
        access_token, expires_in, error = results[at : at + 3]
        if error:
            raise ERRORS[error]("the function says so")
        return access_token, float(expires_in) if expires_in else None

    def on_engine(self, command: str, given: list[str]) -> Reply | None:
        engine = self.engine
        assert engine is not None
        match command:
            case "source":
                self.current = engine.source(given[0])
            case "source_with":
                self.current = engine.source(given[0], **json.loads(given[1]))
            case "custom_source":
                self.custom_calls = 0
                name, keys, *results = given
                self.current = engine.custom_source(name, self.function(results), **json.loads(keys))
            case "custom_calls":
                return [("count", str(self.custom_calls))]
            case "advance":
                engine.advance(float(given[0]))
            case "suspend":
                engine.suspend(float(given[0]))
            case "step_wall_clock":
                engine.step_wall_clock(float(given[0]))
            case "events":
                # Any call logs what has happened before it.
                engine.profiles()
                return [("events", compact(self.events.take()))]
            case "metrics":
                return [("metrics", compact(engine.metrics())), ("prometheus", engine.prometheus())]
            case "records":
                return [("records", compact(engine.records()))]
            case "clear":
                return [("cleared", str(engine.clear(given[0])).lower())]
            case "remove":
                return [("removed", str(engine.remove(given[0])).lower())]
            case "close":
                engine.close()
            case "invalidate":
                assert self.last is not None
                return [("acted", str(self.source.invalidate(self.last)).lower())]
            case "reset":
                self.source.reset()
            case "update":
                self.source.update(**json.loads(given[0]))
            case "scoped":
                scope, audience, resource = (given[index] or None for index in range(3))
                self.current = self.source.scoped(scope=scope, audience=audience, resource=resource)
            case _:
                return None
        return []


def is_object(config: str) -> bool:
    """Whether a dict can say the same: not where the text itself is the matter: its size, syntax or doubled keys."""
    if len(config) > 4 * 1024 * 1024:
        return False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError
        return made

    try:
        return isinstance(json.loads(config, object_pairs_hook=once), dict)
    except ValueError:
        return False


def options(given: list[str]) -> dict[str, float]:
    made = {}
    if given[0]:
        made["min_remaining"] = float(given[0])
    if given[1]:
        made["timeout"] = int(given[1]) / 1000
    return made


def request(given: list[str]) -> dict[str, Any]:
    method, target, body, *rest = given
    pairs = list(zip(rest[::2], rest[1::2], strict=False))
    return {"method": method, "target": target, "body": body or None, "headers": [pair for pair in pairs if pair[0]]}


def response_reply(response: qauth.Response) -> Reply:
    items = [(name, value) for name in response.headers for value in response.headers.get_list(name)]
    return [("status", str(response.status)), ("body", response.text()), *headers(items)]


def tally(results: list[qauth.Token | BaseException]) -> Reply:
    tokens = [result.access_token for result in results if isinstance(result, qauth.Token)]
    errors = {result.code for result in results if isinstance(result, qauth.Error)}
    return [("ok", str(len(tokens))), ("distinct", str(len(set(tokens)))), ("errors", ",".join(sorted(errors)))]


class Sync(Driver):
    """Blocking calls; what waits beside others is a thread."""

    started: Future[qauth.Token]

    def handle(self, command: str, given: list[str]) -> Reply | None:
        source = self.source
        match command:
            case "token":
                return self.token_reply(source.token(**options(given)))
            case "start":
                self.started = self.spawn(lambda: source.token(**options(given)))
                return []
            case "join":
                return self.token_reply(self.started.result())
            case "header":
                return [("value", source.header())]
            case "headers":
                made = source.headers(given[0], given[1])
                return [("count", str(len(made))), *headers(made.items())]
            case "request":
                return response_reply(source.request(**request(given)))
            case "call":
                result = source.call(given[0], json.loads(given[1] or "{}"), save_as=given[2] or None)
                return [("result", compact(result))]
            case "concurrent":
                barrier = threading.Barrier(int(given[0]))

                def ask() -> qauth.Token:
                    barrier.wait()
                    return source.token()

                asking = [self.spawn(ask) for _ in range(int(given[0]))]
                return tally([future.exception() or future.result() for future in asking])
        return None

    @staticmethod
    def spawn(call: Any) -> Future[qauth.Token]:
        future: Future[qauth.Token] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run).start()
        return future


class Async(Driver):
    """Awaited calls; what waits beside others is a task."""

    started: asyncio.Task[qauth.Token]

    def function(self, results: list[str]) -> Any:
        async def function() -> tuple[str, float | None]:
            await asyncio.sleep(0)
            return self.given(results)

        return function

    async def handle(self, command: str, given: list[str]) -> Reply | None:
        source = self.source
        match command:
            case "token":
                return self.token_reply(await source.token_async(**options(given)))
            case "start":
                self.started = asyncio.create_task(source.token_async(**options(given)))
                # Let it begin.
                await asyncio.sleep(0)
                return []
            case "join":
                return self.token_reply(await self.started)
            case "header":
                return [("value", await source.header_async())]
            case "headers":
                made = await source.headers_async(given[0], given[1])
                return [("count", str(len(made))), *headers(made.items())]
            case "request":
                return response_reply(await source.request_async(**request(given)))
            case "call":
                result = await source.call_async(given[0], json.loads(given[1] or "{}"), save_as=given[2] or None)
                return [("result", compact(result))]
            case "concurrent":
                asking = [source.token_async() for _ in range(int(given[0]))]
                return tally(await asyncio.gather(*asking, return_exceptions=True))
        return None


def fields(text: str) -> tuple[str, list[str]]:
    command, *given = (unquote(field) for field in text.rstrip("\n").split("\t"))
    # Trailing ones may be missing.
    return command, given + [""] * (4 - len(given))


def answer(reply: Reply | None) -> None:
    print("unsupported" if reply is None else line("ok", reply), flush=True)


def main_sync() -> None:
    driver = Sync()
    for text in sys.stdin:
        command, given = fields(text)
        try:
            if command in MAKE:
                answer(driver.make(command, given[0]))
                continue
            reply = driver.on_engine(command, given)
            answer(driver.handle(command, given) if reply is None else reply)
        except qauth.Error as error:
            print(refused(error), flush=True)


async def main_asyncio() -> None:
    driver = Async()
    loop = asyncio.get_running_loop()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        command, given = fields(text)
        try:
            if command in MAKE:
                answer(driver.make(command, given[0]))
                continue
            # What may take its time must not hold up the tasks that wait.
            reply = await loop.run_in_executor(None, driver.on_engine, command, given)
            answer(await driver.handle(command, given) if reply is None else reply)
        except qauth.Error as error:
            print(refused(error), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "asyncio":
        asyncio.run(main_asyncio())
    else:
        main_sync()
