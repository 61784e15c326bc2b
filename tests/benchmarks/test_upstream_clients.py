"""The benchmark of HTTP clients: what it concludes, and that those installed here really ask."""

import asyncio
import dataclasses

import pytest

from benchmarks.load.mock import MockUpstream
from benchmarks.load.programs import Programs
from benchmarks.upstream_client_visit import CLIENTS, CONCURRENCIES, visit
from benchmarks.upstream_clients import Row, main, render, row, verdict
from tests.support.raw_server import RawServer, raw_server

OURS = Row("ours", "this commit", (50.0, 25.0, 20.0), 12.0)
NEAR = Row("near", "1.2", (50.0, 25.0, 26.0), 12.0)
FAR = Row("far", "3.4", (50.0, 25.0, 26.1), 12.0)
BROKEN = Row("broken", "5.6", fault="it does not answer")


def by_name(*rows: Row) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_a_library_that_comes_near_enough_takes_the_place_of_ours() -> None:
    assert verdict(by_name(OURS, FAR, BROKEN)).endswith("none does, so ours stays.")
    assert verdict(by_name(OURS, FAR, NEAR)).endswith("near should take its place.")
    assert "nothing can be said" in verdict(by_name(NEAR))
    assert "nothing can be said" in verdict(by_name(dataclasses.replace(OURS, fault="x"), NEAR))


def test_a_row_is_the_median_of_its_visits_or_their_first_fault() -> None:
    visits: list[dict[str, float] | str] = [
        {"c1": number, "c16": 2 * number, "c64": 3 * number, "chunk": 4 * number} for number in (9.0, 1.0, 2.0)
    ]
    assert row("far", "3.4", visits) == Row("far", "3.4", (2.0, 4.0, 6.0), 8.0)
    assert row("far", "3.4", [*visits, "broke"]) == Row("far", "3.4", fault="broke")


def test_the_section_holds_every_client() -> None:
    section = render([OURS, FAR, BROKEN], "ORIGIN", rounds=3, seconds=1.0)
    assert "ORIGIN" in section
    assert "| ours | this commit | 50.0 | 25.0 | 20.0 | 12.0 | 1.0 |" in section
    assert "| far | 3.4 | 50.0 | 25.0 | 26.1 | 12.0 | 1.3 |" in section
    broken = next(line for line in section.splitlines() if line.startswith("| broken"))
    assert "not measured: it does not answer" in broken
    assert broken.count("|") == len(CONCURRENCIES) + 5


def test_a_client_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--clients", "ours,curl2"]) == 2
    assert "no client curl2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ours", "aiohttp", "httpx", "httpcore"])
async def test_a_visit(programs: Programs, name: str) -> None:
    """Those of the clients that the tests' own environment has."""
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        mock.stream(chunks=2, interval_s=0.0)
        found = await visit(name, mock.port, 0.01, 2)
    assert set(found) == {*(f"c{concurrency}" for concurrency in CONCURRENCIES), "chunk"}
    assert all(cost >= 0 for cost in found.values())


@pytest.mark.parametrize("name", ["ours", "aiohttp", "httpx", "httpcore"])
async def test_a_refusal_is_no_answer(name: str) -> None:
    async def refuse(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 503 Not Now\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with raw_server(refuse) as server, CLIENTS[name](f"http://127.0.0.1:{server.port}/") as ask:
        with pytest.raises(RuntimeError, match="503"):
            await ask(b"{}")
