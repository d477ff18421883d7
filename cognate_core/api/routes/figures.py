"""Measured numbers in answers."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Figure = Annotated[float | None, BeforeValidator(_number)]
"""Null if unknown or not a finite number."""
