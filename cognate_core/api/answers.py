"""What answers have in common: figures, which may be no number, and long lists, given page by page."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, BeforeValidator, Field

from cognate_core.errors import ConfigError

Item = TypeVar("Item")
Place = tuple[str | int, ...]
"""Where an item stands in its list; two never stand at the same place."""


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_number)]
"""A measured number; null where it is not known, or none."""


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: str | None = Field(description="Sent as `after`, it gives what follows. Null: nothing does.")


class Paging:
    """Which part of a list is asked for."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=500, description="At most this many.")] = 50,
        after: Annotated[str | None, Query(max_length=500, description="`next` of the page before.")] = None,
    ) -> None:
        self.limit, self.after = limit, after

    @property
    def place(self) -> Place | None:
        """Behind which place the page begins; None: it is the first.

        Raises:
            ConfigError: nobody was given such a cursor.
        """
        if self.after is None:
            return None
        try:
            place = json.loads(base64.urlsafe_b64decode(self.after.encode()))
            if not isinstance(place, list) or not place or not all(type(part) in (str, int) for part in place):
                raise ValueError("it is no place")
        except (ValueError, RecursionError) as error:
            raise ConfigError({"after": "This is no cursor. Send next of the page before, as it is."}) from error
        return tuple(place)

    def newest(self, items: Iterable[Item], place_of: Callable[[Item], Place]) -> tuple[list[Item], str | None]:
        """The page of `items`, the last place first, and the cursor of the next one.

        What was added or removed since the page before neither repeats an item nor leaves one out.
        """
        after = self.place
        try:
            rest = sorted((x for x in items if after is None or place_of(x) < after), key=place_of, reverse=True)
        except TypeError as error:
            raise ConfigError({"after": "This is the cursor of another list."}) from error
        page = rest[: self.limit]
        return page, cursor(place_of(page[-1])) if len(rest) > len(page) else None


def cursor(place: Place) -> str:
    """A place as it is given to whoever asks."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


GetPaging = Annotated[Paging, Depends()]
