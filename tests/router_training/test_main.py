import importlib.util
import subprocess
import sys
import types

import pytest

from router_core.errors import TableError
from router_training.__main__ import JOBS, Job, main
from router_training.errors import JobConfigError


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch):
    """Register a module made of `run`; gives the registry with it under `grow beans`."""

    def make(run):
        module = types.ModuleType("a_job_of_this_test")
        module.add_arguments = lambda parser: parser.add_argument("--count", type=int, default=1)
        module.run = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return {("grow", "beans"): Job(module.__name__, "grow beans"), ("sleep",): Job("no_such_module", "sleep")}

    return make


def raising(error):
    def run(args):
        raise error

    return run


def test_help_lists_every_job_without_importing_torch_or_any_job():
    probe = (
        "import sys; from router_training.__main__ import main; status = main(['--help']);"
        "heavy = {'torch', 'transformers', 'numpy', 'httpx', 'yaml'} & set(sys.modules);"
        "print('status', status, 'heavy', sorted(heavy))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert "status 0 heavy []" in shown
    for name in JOBS:
        assert f"  {' '.join(name)} " in shown


def test_the_named_job_gets_its_options_and_its_status_is_returned(job):
    seen = []

    def run(args):
        seen.append(args.count)
        return 1

    assert main(["grow", "beans", "--count", "3"], jobs=job(run)) == 1
    assert seen == [3]


@pytest.mark.parametrize("words", [["grow"], [], ["grow", "--count", "3"]])
def test_an_unfinished_name_lists_what_can_follow(words, job, capsys):
    assert main(words, jobs=job(raising(AssertionError))) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "grow beans" in captured.err
    assert ("sleep" in captured.err) == (words == [])


def test_help_of_a_group_goes_to_stdout(job, capsys):
    assert main(["grow", "--help"], jobs=job(raising(AssertionError))) == 0
    assert "grow beans" in capsys.readouterr().out


def test_an_unknown_job_is_named_beside_the_known_ones(job, capsys):
    assert main(["grow", "peas", "--count", "3"], jobs=job(raising(AssertionError))) == 2
    assert capsys.readouterr().err == "router-training: no job is called 'grow peas'; the jobs are: grow beans, sleep\n"


@pytest.mark.parametrize("error", [JobConfigError("seed: too small"), TableError("seed: too small")])
def test_an_error_of_either_tree_is_one_line_and_status_2(error, job, capsys):
    assert main(["grow", "beans"], jobs=job(raising(error))) == 2
    assert capsys.readouterr().err == "router-training grow beans: seed: too small\n"


def test_a_missing_extra_is_one_line_and_says_what_to_install(job, capsys):
    missing = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert main(["grow", "beans"], jobs=job(raising(missing))) == 2
    assert capsys.readouterr().err == (
        "router-training grow beans: needs torch: pip install 'routerdc-gateway[train]'\n"
    )


def test_a_module_of_ours_that_is_missing_is_no_missing_extra(job):
    ours = ModuleNotFoundError("No module named 'router_training.beans'", name="router_training.beans")
    with pytest.raises(ModuleNotFoundError):
        main(["grow", "beans"], jobs=job(raising(ours)))


@pytest.mark.parametrize(
    ("interrupt", "line"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (KeyboardInterrupt("go on with --resume"), "interrupted; go on with --resume"),
    ],
)
def test_ctrl_c_is_one_line_and_status_130(interrupt, line, job, capsys):
    assert main(["grow", "beans"], jobs=job(raising(interrupt))) == 130
    assert capsys.readouterr().err == f"router-training grow beans: {line}\n"


def test_an_unexpected_error_keeps_its_traceback(job):
    with pytest.raises(ZeroDivisionError):
        main(["grow", "beans"], jobs=job(raising(ZeroDivisionError())))


def test_an_option_may_not_be_shortened(job, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["grow", "beans", "--cou", "3"], jobs=job(raising(AssertionError)))
    assert stopped.value.code == 2
    assert "--cou" in capsys.readouterr().err


@pytest.mark.parametrize("name", JOBS)
def test_every_registered_job_is_there(name):
    assert importlib.util.find_spec(JOBS[name].module) is not None
