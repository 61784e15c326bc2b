import json
from pathlib import Path

import pytest

from deploy.demo.families import FAMILIES, SPECIALISTS
from deploy.demo.make_data import DATA, QUERIES_PER_FAMILY, make_data, masked
from router_core.answers import is_right
from router_core.table import read_queries
from router_training.sft.examples import read_examples


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(folder / "data", folder / "sft", log=lambda line: None)
    return folder


def test_the_committed_data_is_what_the_program_makes(made: Path) -> None:
    for name in ("router_train.jsonl", "router_test.jsonl", "report.json"):
        assert (made / "data" / name).read_bytes() == (Path(__file__).parents[3] / DATA / name).read_bytes()


def test_no_text_is_in_two_sets_even_with_its_digits_masked(made: Path) -> None:
    sets = [
        {masked(query.question) for query in read_queries(made / "data" / f"{name}.jsonl")}
        for name in ("router_train", "router_test")
    ]
    sets.append({masked(one.prompt) for one in read_examples([made / "sft" / "multi.jsonl"])})
    assert sum(len(one) for one in sets) == len(set().union(*sets))


def test_every_family_is_in_both_query_files(made: Path) -> None:
    for name, least in (("router_train", 60), ("router_test", 40)):
        tasks = [query.task for query in read_queries(made / "data" / f"{name}.jsonl")]
        assert all(tasks.count(family) >= least for family in FAMILIES)


def test_the_rivals_data_is_the_union_of_the_specialists(made: Path) -> None:
    parts = [one for name in SPECIALISTS for one in read_examples([made / "sft" / f"{name}.jsonl"])]
    union = read_examples([made / "sft" / "multi.jsonl"])
    assert sorted(one.model_dump_json() for one in parts) == sorted(one.model_dump_json() for one in union)


def test_the_report_counts_what_was_removed(made: Path) -> None:
    report = json.loads((made / "data" / "report.json").read_text())
    assert report["shared_wordings"] == 0
    assert set(report["removed"]) == {"sft", "router_train", "router_test"}
    assert report["counts"]["router_test"]["facts"] == QUERIES_PER_FAMILY["router_test"]


def test_digits_spacing_and_case_are_put_aside_by_the_mask() -> None:
    assert masked("Add  12 and\n7") == masked("add 34 AND 5")
    assert masked("Add 12") != masked("Add 1")
    assert not is_right(read_queries(Path(__file__).parents[3] / DATA / "router_test.jsonl")[0].answer, "")
