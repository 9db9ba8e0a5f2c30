"""Headers, in both directions. Their ``repr`` shows names only: values may be tokens."""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, NoReturn


class RequestHeaders(dict[str, str]):
    """What a request must carry. Hold it no longer than the request."""

    __slots__ = ("generation",)

    generation: int
    """The generation of the token in them."""

    def __init__(self, generation: int) -> None:
        super().__init__()
        self.generation = generation

    def __repr__(self) -> str:
        return f"<qauth.RequestHeaders {list(self)}>"

    def copy(self) -> RequestHeaders:
        """One whose ``repr`` hides the values too."""
        made = RequestHeaders(self.generation)
        made.update(self)
        return made

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> RequestHeaders:
        return self.copy()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("RequestHeaders are not pickled, for they hold a token: ask a source where they are needed")


class ResponseHeaders(Mapping[str, str]):
    """What a response carried: names without regard to case, several of one name joined by ", "."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        # What is no name is in no mapping: `in` and `get` rely on KeyError.
        if not isinstance(name, str):
            raise KeyError(name)
        return ", ".join(self._values[name.lower()])

    def get_list(self, name: str) -> list[str]:
        """The values of each header of this name; empty where there is none."""
        return list(self._values.get(name.lower(), ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<qauth.ResponseHeaders {list(self)}>"
