"""The half of the asyncio face that asyncio wants in Python: coroutines, and one watched descriptor per loop."""

from __future__ import annotations

import os
from weakref import ReferenceType, WeakKeyDictionary, ref

from ._qauth import Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from ._qauth import Call, Engine

# This module is imported with the package: the child of a fork that falls into an import by another thread can never
# import that module. asyncio is imported by those who run a loop.


class _Calls:
    """The calls that one loop awaits, whose queue's descriptor it watches.

    The loop holds this object as its reader, and nothing else does: a loop that is closed or forgotten with calls under
    way takes them along.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pid = os.getpid()
        self.queue = Queue()
        self.waiting: set[asyncio.Future[Any]] = set()
        loop.add_reader(self.queue.fileno(), self.settle)

    def settle(self) -> None:
        self.queue.run()


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, ReferenceType[_Calls]] = WeakKeyDictionary()


def _calls(loop: asyncio.AbstractEventLoop) -> _Calls:
    """Those of this loop, from its first call on."""
    known = _loops.get(loop)
    calls = None if known is None else known()
    # A queue that came through a fork would take its parent's results.
    if calls is None or calls.pid != os.getpid():
        calls = _Calls(loop)
        _loops[loop] = ref(calls)
    return calls


async def result(call: Call) -> Any:
    """Begins the call on the running loop and waits for its result."""
    import asyncio

    loop = asyncio.get_running_loop()
    calls = _calls(loop)
    future = loop.create_future()
    pending = call.begin(calls.queue, future)
    calls.waiting.add(future)
    try:
        return await future
    finally:
        calls.waiting.discard(future)
        # Without effect on one that is done.
        pending.cancel()
        # An exception's traceback holds this frame, and the future the exception.
        del future


async def entered(engine: Engine) -> Engine:
    """``async with engine`` begins."""
    return engine


async def closed(engine: Engine) -> None:
    """``async with engine`` ends: closing may take a second, which the loop need not wait for."""
    import asyncio

    await asyncio.get_running_loop().run_in_executor(None, engine.close)
