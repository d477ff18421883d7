"""What tells runs apart, and families: each run once, after the one that it was made of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig, form_fields
from cognate_core.insight.comparison import FamilyMember, config_difference, family

BASE = TrainingConfig()
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.sampled_from([1e-4, 1e-3]),
        "max_steps": st.integers(10, 13),
        "grokfast_enabled": st.booleans(),
        "dataset_sources": st.sampled_from([["GSM8K"], ["SVAMP"], ["GSM8K", "SVAMP"], ["SVAMP", "GSM8K"]]),
        "output_dir": st.sampled_from(["a", "b"]),
    },
)


@settings(max_examples=40)
@given(changes=st.lists(CHANGES, min_size=1, max_size=5))
def test_exactly_the_settings_that_are_not_the_same_are_told(changes: list[dict[str, Any]]) -> None:
    configs = [BASE.with_overrides(change) for change in changes]
    dumps = [config.model_dump() for config in configs]
    found = config_difference(configs)
    for name in form_fields():
        values = [dump[name] for dump in dumps]
        if name != "output_dir" and values.count(values[0]) < len(values):
            assert found.pop(name) == values
    assert found == {}


def test_runs_with_the_same_settings_differ_in_nothing() -> None:
    assert config_difference([BASE, BASE.with_overrides({"output_dir": "elsewhere"}), BASE]) == {}
    assert config_difference([BASE]) == config_difference([]) == {}


def listed(ids: list[str], parents: dict[str, str | None]) -> list[tuple[str, int, bool]]:
    return [(each.id, each.depth, each.after_parent) for each in family(ids, parents)]


TREE = {  # the newest first, as the progress log has them
    "other": None,
    "grandchild": "first",
    "second": "parent",
    "first": "parent",
    "parent": None,
}


@pytest.mark.parametrize("asked", ["parent", "first", "second", "grandchild"])
def test_all_that_hang_together_are_listed_the_older_ones_first(asked: str) -> None:
    assert listed([asked], TREE) == [
        ("parent", 0, False),
        ("first", 1, True),
        ("grandchild", 2, True),
        ("second", 1, False),  # its parent stands above, but not right above
    ]


def test_two_of_one_family_list_it_once_and_two_families_follow_each_other() -> None:
    assert listed(["second", "grandchild"], TREE) == listed(["parent"], TREE)
    assert [id for id, *_ in listed(["other", "first"], TREE)] == ["other", "parent", "first", "grandchild", "second"]
    assert listed([], TREE) == []


def test_of_a_parent_that_is_gone_nothing_is_told() -> None:
    assert listed(["orphan"], {"child": "orphan", "orphan": "gone"}) == [("orphan", 0, False), ("child", 1, True)]
    both: dict[str, str | None] = {"one": "gone", "other": "gone"}
    assert listed(["one"], both) == [("one", 0, False)], "that both come of it is not known any more"


@pytest.mark.parametrize("ids", [["a"], ["b"], ["c"], ["a", "b", "c"], ["c", "a"]])
def test_a_ring_which_only_a_damaged_database_has_does_not_hang(ids: list[str]) -> None:
    found = family(ids, {"a": "b", "b": "a", "c": "a", "self": "self"})
    assert sorted(member.id for member in found) == ["a", "b", "c"]
    assert family(["self"], {"self": "self"}) == [FamilyMember("self", 0, after_parent=False)]


IDS = [f"r{number}" for number in range(12)]


@given(
    parents=st.dictionaries(st.sampled_from(IDS), st.sampled_from([*IDS, "gone"]) | st.none(), min_size=1),
    data=st.data(),
)
def test_whatever_was_made_of_what_each_is_listed_once_with_all_its_kin(
    parents: dict[str, str | None], data: st.DataObject
) -> None:
    asked = data.draw(st.lists(st.sampled_from(sorted(parents)), min_size=1, max_size=4))
    members = family(asked, parents)
    found = [member.id for member in members]
    assert len(found) == len(set(found))

    kin = set(asked)  # grown along every known bond, both ways, until nothing more comes
    bonds = [(child, parent) for child, parent in parents.items() if parent in parents]
    while more := {end for bond in bonds if kin & {*bond} for end in bond} - kin:
        kin |= more
    assert set(found) == kin

    depths = {member.id: member.depth for member in members}
    for place, member in enumerate(members):
        parent = parents[member.id]
        assert member.after_parent == (place > 0 and found[place - 1] == parent)
        if member.depth:
            assert parent is not None and member.depth == depths[parent] + 1
            assert found.index(parent) < place
