"""What happens to tokens, as records of the standard module ``logging``: logger ``qauth``."""

from __future__ import annotations

import atexit
import sys

from ._qauth import log_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger

    from ._qauth import Event

_logger: Logger | None = None


def _found() -> Logger | None:
    """The logger; None where nobody has imported ``logging``, for then nobody has a handler.

    It is never imported here: that takes longer than to import this package, and the child of a fork that fell into it
    would wait for ever.
    """
    global _logger
    logging = sys.modules.get("logging")
    # One that another thread is importing right now does not have everything yet.
    if _logger is None and logging is not None and hasattr(logging, "NullHandler"):
        _logger = logging.getLogger("qauth")
        # As libraries do: without it, warnings would go to stderr where nobody has set up logging.
        _logger.addHandler(logging.NullHandler())
        # Later than those of logging itself, so that it runs before handlers are closed.
        atexit.register(log_events)
    return _logger


def log(event: Event) -> None:
    """Logs an event, with the time at which it happened."""
    logger = None if sys.is_finalizing() else _found()
    if logger is None or not logger.isEnabledFor(event.level):
        return
    lost = f" ({event.lost} events before this one were lost)" if event.lost else ""
    fields = {
        "qauth_event": event.kind,
        "qauth_profile": event.profile,
        "qauth_provider": event.provider,
        "qauth_reason": event.reason,
        "qauth_seconds": event.seconds,
        "qauth_code": event.code,
        "qauth_generation": event.generation,
        "qauth_lost": event.lost,
    }
    # It comes from no line of the program.
    record = logger.makeRecord(logger.name, event.level, "qauth", 0, f"{event}{lost}", (), None, None, fields)
    record.relativeCreated += (event.at - record.created) * 1000
    record.created = event.at
    record.msecs = float(event.at % 1 * 1000 // 1)
    logger.handle(record)
