"""How the settings of runs differ, and which runs derive from which. Pure functions of configs and ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cognate_core.config import TrainingConfig, form_fields

UNIMPORTANT = ("output_dir",)  # each run has its own


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """A run in its family tree. `depth`: 0 without a known parent. `after_parent`: whether it is listed right after its
    parent."""

    id: str
    depth: int
    after_parent: bool


def config_difference(configs: Sequence[TrainingConfig]) -> dict[str, list[Any]]:
    """The settings that differ: name -> the value in each config."""
    values = {name: [getattr(config, name) for config in configs] for name in form_fields() if name not in UNIMPORTANT}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def family(ids: Sequence[str], parents: Mapping[str, str | None]) -> list[FamilyMember]:
    """The families of `ids`: each founder, followed by the runs derived from it.

    Args:
        parents: the parent of each known run; a parent may itself be unknown.
    """
    children: dict[str | None, list[str]] = {}
    for run_id, parent in reversed(list(parents.items())):  # older ones first
        children.setdefault(parent if parent in parents else None, []).append(run_id)
    members: list[FamilyMember] = []

    def add(run_id: str, depth: int, seen: frozenset[str]) -> None:
        before = members[-1].id if members else None
        members.append(FamilyMember(run_id, depth, after_parent=before is not None and before == parents[run_id]))
        for child in children.get(run_id, []):
            if child not in seen:
                add(child, depth + 1, seen | {child})

    for founder in dict.fromkeys(_founder(run_id, parents) for run_id in ids):
        if all(member.id != founder for member in members):  # in a ring, each run has another founder
            add(founder, 0, frozenset({founder}))
    return members


def _founder(run_id: str, parents: Mapping[str, str | None]) -> str:
    """A run's oldest known ancestor."""
    seen = {run_id}
    while (parent := parents.get(run_id)) is not None and parent in parents and parent not in seen:
        run_id = parent
        seen.add(run_id)
    return run_id
