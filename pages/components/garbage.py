"""What Streamlit's collections of garbage, one after every run of a page or of a part of it, need not look through.

With torch loaded each took 0.13 s or more: four fifths of the pages' processor time while a run began
(docs/experiments.md).
"""

from __future__ import annotations

import gc
import sys

MANY = 50  # modules loaded since the last time

_modules = 0


def pass_over_libraries() -> None:
    """Let later collections pass over what is loaded now. Does nothing unless many modules were loaded since."""
    global _modules
    if len(sys.modules) < _modules + MANY:
        return
    _modules = len(sys.modules)
    gc.collect()
    gc.freeze()
