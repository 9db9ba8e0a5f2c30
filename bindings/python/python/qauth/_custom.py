"""Token functions of the user's own: which thread or loop runs them, and what becomes of their exceptions."""

from __future__ import annotations

from weakref import ref

from ._asyncio import Calls, calls_of
from ._errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

    from ._qauth import Reply, TokenCall

_BLOCKS = (
    "the token function is a coroutine, and this call blocks the loop of its own thread: use token_async and the like"
)

# How long a loop's executor may take to begin. One whose threads all wait for this very token would never.
_EXECUTOR_LIMIT = 0.1

# A function whose coroutine is cancelled so often in a row does it itself.
_CANCELLED_LIMIT = 3


class Function:
    """A token function as the engine calls it, with the one answer to give."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # They take longer to import than the whole package.
        import inspect

        if not callable(function):
            raise TypeError(f"function: expected a callable, got {type(function).__name__}")
        self._function = function
        self._takes_call = _takes_call(function)
        called = getattr(function, "__call__", None)  # noqa: B004
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
        if self._is_async:
            # Not later: the child of a fork that falls into the import could never import it.
            import asyncio  # noqa: F401
        self._cancelled = 0

    def _call(self, call: TokenCall) -> Any:
        return self._function(call) if self._takes_call else self._function()

    def run(self, call: TokenCall, reply: Reply) -> None:
        """In this thread, which waits for the answer."""
        if self._is_async:
            self._run_coroutine(call, reply)
            return
        try:
            given = self._call(call)
        except Exception as error:
            reply.fail(error)
        except BaseException as error:
            reply.leave(error)
        else:
            self._give(reply, given)

    def _run_coroutine(self, call: TokenCall, reply: Reply) -> None:
        import asyncio

        if asyncio._get_running_loop() is not None:
            reply.leave(blocked(call.profile))
            return
        try:
            given = asyncio.run(self._call(call))
        except Exception as error:
            reply.fail(error)
        except BaseException as error:
            reply.leave(error)
        else:
            self._give(reply, given)

    def start(self, call: TokenCall, reply: Reply) -> None:
        """On the loop that runs in this thread, where somebody waits for the answer."""
        import asyncio

        loop = asyncio.get_running_loop()
        calls = calls_of(loop)
        if not calls.waiting:
            # They have all given up, maybe because the loop is about to end.
            reply.give_back()
        elif self._is_async:
            calls.keep(loop.create_task(self._awaited(call, reply)), reply)
        else:
            self._start_in_executor(loop, calls, call, reply)

    async def _awaited(self, call: TokenCall, reply: Reply) -> None:
        import asyncio

        try:
            given = await self._call(call)
        except asyncio.CancelledError as error:
            self._cancelled += 1
            if self._cancelled < _CANCELLED_LIMIT:
                reply.give_back()
            else:
                reply.fail(error)
            raise
        except Exception as error:
            calls_of(asyncio.get_running_loop()).note(call.profile, error)
            reply.fail(error)
        except BaseException:
            # Ends the loop.
            reply.give_back()
            raise
        else:
            self._give(reply, given)

    def _start_in_executor(self, loop: asyncio.AbstractEventLoop, calls: Calls, call: TokenCall, reply: Reply) -> None:
        held, known = [reply], ref(calls)
        del reply, calls

        def note(error: BaseException) -> None:
            left = known()
            if left is not None:
                left.note(call.profile, error)

        def work() -> None:
            try:
                reply = held.pop()
            except IndexError:
                return
            try:
                given = self._call(call)
            except BaseException as error:
                try:  # noqa: SIM105 (contextlib would be imported for this alone)
                    # Before the answer, which comes through the loop too.
                    loop.call_soon_threadsafe(note, error)
                except RuntimeError:
                    # The loop is closed: there is nobody to tell.
                    pass
                reply.fail(error)
            else:
                self._give(reply, given)

        try:
            loop.run_in_executor(None, work)
        except RuntimeError:
            # It was shut down before the loop.
            import threading

            threading.Thread(target=work, daemon=True).start()
        loop.call_later(_EXECUTOR_LIMIT, held.clear)

    def _give(self, reply: Reply, given: Any) -> None:
        self._cancelled = 0
        reply.give(given)
        if hasattr(given, "__await__") and hasattr(given, "close"):
            # The answer says what is wrong; that it was never awaited would only distract.
            given.close()


def blocked(profile: str) -> InvalidArgumentError:
    """For a call that blocks the loop which is to run the function."""
    text = f'{InvalidArgumentError.code}: profile "{profile}": {_BLOCKS}'
    return InvalidArgumentError(text, message=_BLOCKS, profile=profile)


def _takes_call(function: Callable[..., Any]) -> bool:
    """Whether it must be given the TokenCall."""
    import inspect

    try:
        signature = inspect.signature(function)
    except ValueError:
        # Native ones may have none.
        return False
    for arguments in ((), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise TypeError("function: expected one that takes no argument, or one")
