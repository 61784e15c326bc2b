from pathlib import Path

import pytest

from benchmarks.routerdc_data import main


@pytest.fixture(scope="module")
def page(routerdc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    results = tmp_path_factory.mktemp("results") / "results.md"
    assert main(["--data", str(routerdc_folder), "--quick", "--results", str(results)]) == 0
    return results.read_text(encoding="utf-8")


def test_the_section_tells_everything_in_order(page: str) -> None:
    headings = [line for line in page.splitlines() if line.startswith("##")]
    assert headings == [
        "## RouterDC's own data",
        "### Every method beside the task prior",
        "### Within a task",
        "### A task that no router has seen",
        "### Queries unlike the benchmark's",
        "### Probabilities and abstention",
        "### Test questions that stand in train",
        "### Time and size",
    ]
    assert "`python -m benchmarks.routerdc_data --quick`" in page


def test_the_default_routes_the_small_data_as_well_as_anyone_could(page: str) -> None:
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:]] for line in page.splitlines()
            if line.startswith("|")}  # fmt: skip
    default, bound = (
        rows["**default (prior_residual), as served**"],
        rows["best LLM per task, picked on test: not a router"],
    )
    assert default[:5] == bound[:5]
    assert "RouterDC as reported in the paper, quoted from memory, not re-verified" in rows
    assert rows["MMLU"]


def test_no_gain_is_claimed_over_a_rival_that_does_as_well(page: str) -> None:
    text = " ".join(page.split())
    assert "the default cannot be told from the task prior (+0.00 [+0.00, +0.00] points" in text
    assert "and beats the best single LLM" in text


def test_without_a_file_a_quick_run_is_printed_and_written_nowhere(
    routerdc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--data", str(routerdc_folder.parent / "absent"), "--quick"]) == 2
    assert "set ROUTERDC_DATA" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
