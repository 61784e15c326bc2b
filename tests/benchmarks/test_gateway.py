import os
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks import gateway as program
from benchmarks.gateway import main, measure_idle, measure_round, rotated
from benchmarks.gateway_figures import figures
from benchmarks.gateway_sections import Row, render
from benchmarks.gateway_visits import DIRECT, Bench, worker_shares
from benchmarks.gateways.base import Features, Gateway, Launch, Place
from benchmarks.gateways.installation import Installation
from benchmarks.load.mock import Caller, MockUpstream
from benchmarks.load.programs import BuildError, build_programs

RELAY = Path(program.__file__).parent / "gateways" / "fastapi_app.py"


class Nothing(Installation):
    """This very environment."""

    def fill(self, folder: Path) -> None:
        return

    def version(self, folder: Path) -> str:
        return "1.0"


def relay(place: Place, broken: bool = False) -> Launch:
    (place.scratch / "benchmarks_fastapi_app.py").write_bytes(RELAY.read_bytes())
    app = "benchmarks_fastapi_app:none" if broken else "benchmarks_fastapi_app:app"
    return Launch(
        (sys.executable, "-m", "uvicorn", app, "--port", str(place.port), "--no-access-log"),
        {"UPSTREAM": place.upstream_url, "CLIENT": "aiohttp", "PYTHONPATH": str(place.scratch)},
    )


RELAYS = (
    Gateway("good", Nothing(), relay, Features(), "a relay"),
    Gateway("broken", Nothing(), partial(relay, broken=True), Features(keys="on"), "one that does not start"),
)


def test_a_round_measures_every_gateway_beside_the_mock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gateway_visits.IDLE_STREAMS", 20)
    try:
        programs = build_programs(tmp_path / "load")
    except BuildError as error:
        pytest.skip(str(error))
    cores = sorted(os.sched_getaffinity(0))
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        bench = Bench(programs, mock, "", tmp_path, tmp_path, cores[-1], cores[0], 0.1)
        measured = measure_round(bench, RELAYS, 0, 1)
        idle = measure_idle(bench, RELAYS)
    assert set(measured) == {"good", "broken", DIRECT}
    rows = [Row(one, figures(one.name, [measured], idle[one.name]), "1.0", 12.0) for one in RELAYS]
    good, broken = (row.figures for row in rows)
    assert good.faults == ()
    assert set(good.cpu_us) == set(good.added_p50_ms) == {1, 16, 64, 256}
    assert all(20 < us < 50_000 for us in good.cpu_us.values())
    assert good.cpu_us_per_chunk is not None
    assert good.added_first_byte_p50_ms is not None
    assert len(good.kib_per_stream) == 3
    assert broken.cpu_us == {}
    assert 'Attribute "none" not found' in broken.faults[0]
    section = render(rows, "`a command`.", rounds=1, seconds=0.1, load=0.5)
    assert "| good | 1.0 |" in section
    assert "| broken | - | on |" in section
    assert "- broken: it ended with status 3" in section
    assert "| explicit model: CPU per request <= 140 us |  | not measured |" in section


def test_shares_are_of_what_was_sent_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gateway_visits.owners", lambda processes, ports: {1: 10, 2: 11, 3: 11, 5: 12})
    before = [Caller(1, 100), Caller(2, 50), Caller(5, 7)]
    after = [Caller(1, 130), Caller(2, 60), Caller(3, 60), Caller(4, 900), Caller(5, 7)]
    # Connection 4 is nobody's, and process 12 sent nothing.
    assert worker_shares(before, after, [10, 11, 12]) == (0.3, 0.7)
    assert worker_shares(after, after, [10, 11, 12]) == ()


def test_every_round_begins_with_another_gateway() -> None:
    assert [rotated("abcdef", number, 3)[0] for number in range(3)] == ["a", "c", "e"]
    assert rotated("abcdef", 1, 3) == ["c", "d", "e", "f", "a", "b"]
    assert rotated("ab", 2, 5) == ["a", "b"]


def test_an_unknown_peer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--peers", "apache"]) == 2
    assert capsys.readouterr().err.startswith("benchmarks.gateway: apache: choose from quick, all, ")
