"""The half of the asyncio face that asyncio wants in Python: coroutines, and one watched descriptor per loop."""

from __future__ import annotations

import os
import sys
from weakref import ReferenceType, WeakKeyDictionary, ref

from ._errors import Error
from ._qauth import Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from ._qauth import Call, Engine, Reply

# This module is imported with the package: the child of a fork that falls into an import by another thread can never
# import that module. asyncio is imported by those who run a loop.


class Calls:
    """The calls that one loop awaits, whose queue's descriptor it watches.

    The loop holds this object as its reader, and nothing else does: a loop that is closed or forgotten with calls under
    way takes them along.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pid = os.getpid()
        self.queue = Queue()
        self.waiting: set[asyncio.Future[Any]] = set()
        # Token functions that run here, with what they are to answer; the loop itself holds its tasks weakly.
        self.tasks: dict[asyncio.Task[None], Reply] = {}
        # The exceptions of those that failed, by profile, for as long as somebody waits.
        self.causes: dict[str | None, BaseException] = {}
        loop.add_reader(self.queue.fileno(), self.settle)

    def settle(self) -> None:
        self.queue.run()

    def keep(self, task: asyncio.Task[None], reply: Reply) -> None:
        """Until it is done."""
        self.tasks[task] = reply
        known = ref(self)

        def done(task: asyncio.Task[None]) -> None:
            calls = known()
            if calls is not None:
                calls.tasks.pop(task, None)
            if not task.cancelled():
                # An exception that ends the loop is raised there, and need not be told of again.
                task.exception()

        task.add_done_callback(done)

    def note(self, profile: str, cause: BaseException) -> None:
        """The exception of a token function, for those who wait."""
        if self.waiting:
            self.causes[profile] = cause

    def explain(self, error: Error) -> None:
        """Names the exception of a token function as the error's cause, if it is that."""
        cause = self.causes.get(error.profile)
        if cause is not None and error.message.endswith(f": {type(cause).__name__}"):
            error.__cause__ = cause


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, ReferenceType[Calls]] = WeakKeyDictionary()


def calls_of(loop: asyncio.AbstractEventLoop) -> Calls:
    """Those of this loop, from its first call on."""
    known = _loops.get(loop)
    calls = None if known is None else known()
    # A queue that came through a fork would take its parent's results.
    if calls is None or calls.pid != os.getpid():
        calls = Calls(loop)
        _loops[loop] = ref(calls)
    return calls


def running_here() -> list[Reply]:
    """What coroutines of the loop that runs in this thread are to answer."""
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio else None
    known = _loops.get(loop) if loop else None
    calls = known() if known else None
    return list(calls.tasks.values()) if calls else []


async def result(call: Call) -> Any:
    """Begins the call on the running loop and waits for its result."""
    import asyncio

    loop = asyncio.get_running_loop()
    calls = calls_of(loop)
    future = loop.create_future()
    pending = call.begin(calls.queue, future)
    calls.waiting.add(future)
    # Nothing but the loop holds it for longer.
    known = ref(calls)
    del calls
    try:
        return await future
    except Error as error:
        left = known()
        if left is not None:
            left.explain(error)
        raise
    finally:
        left = known()
        if left is not None:
            left.waiting.discard(future)
            if not left.waiting:
                left.causes.clear()
        # Without effect on one that is done.
        pending.cancel()
        # An exception's traceback holds this frame, and the future the exception.
        del future, left


async def entered(engine: Engine) -> Engine:
    """``async with engine`` begins."""
    return engine


async def closed(engine: Engine) -> None:
    """``async with engine`` ends: closing may take a second, which the loop need not wait for."""
    import asyncio

    await asyncio.get_running_loop().run_in_executor(None, engine.close)
