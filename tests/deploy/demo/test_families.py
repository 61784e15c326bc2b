from random import Random

import pytest

from deploy.demo.families import FAMILIES, SPECIALISTS, SPLITS, Item
from router_core.answers import is_right

TAUGHT = sorted(name for names in SPECIALISTS.values() for name in names)


def items(family: str, split: str, count: int = 200) -> list[Item]:
    rng = Random(3)
    return [FAMILIES[family](split, rng) for _ in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_splits_share_no_wording(family: str) -> None:
    splits = SPLITS if family in TAUGHT else SPLITS[1:]
    wordings = [{item.template for item in items(family, split)} for split in splits]
    assert sum(len(one) for one in wordings) == len(set().union(*wordings))
    assert all(len(one) >= 5 for one in wordings)


@pytest.mark.parametrize("family", TAUGHT)
def test_what_a_specialist_is_taught_is_right_and_varied(family: str) -> None:
    taught = items(family, "sft")
    assert all(item.target is not None and is_right(item.answer, item.target) for item in taught)
    assert len({item.template for item in taught}) >= 12


@pytest.mark.parametrize("family", FAMILIES)
def test_no_placeholder_is_left_and_the_question_does_not_answer_itself(family: str) -> None:
    for item in items(family, "router_train") + items(family, "router_test"):
        assert item.task == family
        assert "{" not in item.question
        # The answer to reading lies in its text, and a list may happen to be sorted already.
        assert family in {"reading", "sentiment", "num_sort"} or not is_right(item.answer, item.question)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_items(family: str) -> None:
    assert items(family, "router_train", 20) == items(family, "router_train", 20)


def test_facts_asked_in_the_test_are_not_asked_in_training() -> None:
    trained = items("facts", "router_train", 2000)
    held_out = [item for item in items("facts", "router_test", 2000) if "capital" in item.template]
    capitals = {item.answer.value for item in trained if "capital" in item.template}
    assert held_out
    assert not {item.question.casefold() for item in trained} & {item.question.casefold() for item in held_out}
    assert not capitals & {item.answer.value for item in held_out}


def test_look_alikes_are_about_the_same_data() -> None:
    """A list to sort could be a list to add; a sentence to read could be one to record."""

    def numbers(item: Item) -> frozenset[str]:
        return frozenset(word for word in "".join(c if c.isdigit() else " " for c in item.question).split())

    assert {len(numbers(one)) for one in items("num_sort", "router_test")} == {
        len(numbers(one)) for one in items("list_sum", "router_test")
    }
    forms = [{item.template.split(" | ")[2] for item in items(name, "router_test")} for name in ("json", "reading")]
    assert forms[0] == forms[1]
