import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load.programs import BuildError, Programs, build_programs
from benchmarks.sides import ROUTERDC_TASKS, Sides, read_routerdc
from tests.benchmarks.samples import BEST, MODELS, TEST_ROWS, TRAIN_ROWS, WORDS


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Both C programs; without gcc the tests that need them are skipped."""
    try:
        return build_programs(tmp_path_factory.mktemp("load"))
    except BuildError as error:
        if "gcc is not here" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session")
def routerdc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RouterDC's data in small: five tasks, each with its own best model; two test questions of MMLU stand in train."""
    folder = tmp_path_factory.mktemp("routerdc")
    rng = np.random.default_rng(0)
    for side, count, start in (("train", TRAIN_ROWS, 0), ("test", TEST_ROWS, TRAIN_ROWS)):
        (folder / side).mkdir()
        # The columns of test stand in another order than those of train.
        models = MODELS if side == "train" else MODELS[::-1]
        for task in ROUTERDC_TASKS:
            rows = []
            for index in range(start, start + count):
                number = index - TRAIN_ROWS if task.name == "MMLU" and TRAIN_ROWS <= index < TRAIN_ROWS + 2 else index
                right = {model: 0.8 * (BEST[task.name] == place or rng.random() < 0.2) for place, model in
                         enumerate(MODELS)}  # fmt: skip
                rows.append(
                    {
                        "question": WORDS[task.name].format(number),
                        "scores": {model: float(right[model]) for model in models},
                        **({"cluster_id": 0} if side == "train" else {}),
                    }
                )
            name = task.train if side == "train" else task.test
            with gzip.open(folder / side / name, "wt", encoding="utf-8") as file:
                json.dump(rows, file)
    return folder


@pytest.fixture(scope="session")
def sides(routerdc_folder: Path) -> Sides:
    """The same data, read."""
    return read_routerdc(routerdc_folder)


@pytest.fixture(scope="session")
def tiny_sides(sides: Sides) -> Sides:
    """Two tasks and two test queries each, with credits written out."""
    test = replace(
        sides.test,
        models=("one", "two"),
        questions=("q0", "q1", "q2", "q3"),
        tasks=("X", "X", "Y", "Y"),
        cluster_ids=(None,) * 4,
        groups=(None,) * 4,
        scores=np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]),
        credit=np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]),
    )
    return Sides(train=test, test=test, tasks=("X", "Y"))
