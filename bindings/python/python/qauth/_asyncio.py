"""The half of the asyncio face that asyncio wants in Python: coroutines, and one watched descriptor per loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ._qauth import Queue

if TYPE_CHECKING:
    from ._qauth import Call, Engine

_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[int, Queue]] = WeakKeyDictionary()


def _queue(loop: asyncio.AbstractEventLoop) -> Queue:
    """The loop's queue, whose descriptor it watches from the first call on."""
    pid, queue = _queues.get(loop, (0, None))
    # A queue that came through a fork would take its parent's results.
    if queue is None or pid != os.getpid():
        queue = Queue()
        loop.add_reader(queue.fileno(), queue.run)
        _queues[loop] = (os.getpid(), queue)
    return queue


async def result(call: Call) -> Any:
    """Begins the call on the running loop and waits for its result."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    pending = call.begin(_queue(loop), future)
    try:
        return await future
    finally:
        # Without effect on one that is done.
        pending.cancel()


async def entered(engine: Engine) -> Engine:
    """``async with engine`` begins."""
    return engine


async def closed(engine: Engine) -> None:
    """``async with engine`` ends: closing may take a second, which the loop need not wait for."""
    await asyncio.get_running_loop().run_in_executor(None, engine.close)
