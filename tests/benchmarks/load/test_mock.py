import http.client
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.load.generator import Target, held_streams, run_load
from benchmarks.load.mock import MockUpstream
from benchmarks.load.programs import SOURCES, BuildError, Programs, build_programs


@pytest.fixture
def streaming_bodies(tmp_path: Path) -> Path:
    path = tmp_path / "streams.jsonl"
    path.write_text('{"model": "mock", "stream": true}\n')
    return path


def ask(port: int, body: str, *, chunked: bool = False) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        data = iter([body[:7].encode(), body[7:].encode()]) if chunked else body
        connection.request("POST", "/v1/chat/completions", data, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_is_a_chat_completion(programs: Programs, chunked: bool) -> None:
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        status, kind, body = ask(mock.port, '{"model": "mock", "messages": []}', chunked=chunked)
    answer = json.loads(body)
    assert (status, kind) == (200, "application/json")
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["total_tokens"] == 116


def test_a_stream_has_the_chunks_it_was_told_and_ends_well(programs: Programs) -> None:
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        mock.stream(chunks=3, interval_s=0.001)
        _, kind, body = ask(mock.port, '{"stream": true}')
        with_usage = ask(mock.port, '{"stream": true, "stream_options": {"include_usage": true}}')[2]
    events = body.decode().removesuffix("\n\n").split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert kind.startswith("text/event-stream")
    assert events[-1] == "data: [DONE]"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["tok0 ", "tok1 ", "tok2 "]
    assert with_usage.count(b"data:") == 5
    assert b'"usage":{' in with_usage


def test_it_serves_the_names_it_was_given(programs: Programs) -> None:
    with MockUpstream(programs.mock_upstream, ["one", "org/two"]) as mock:
        connection = http.client.HTTPConnection("127.0.0.1", mock.port, timeout=10)
        connection.request("GET", "/v1/models")
        models = json.loads(connection.getresponse().read())["data"]
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
    assert [model["id"] for model in models] == ["one", "org/two"]


def test_the_generator_and_the_mock_count_alike(programs: Programs, bodies: Path, streaming_bodies: Path) -> None:
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        plain = run_load(programs.load_generator, Target(mock.port, bodies), concurrency=8, seconds=20, requests=400)
        mock.stream(chunks=5, interval_s=0.001)
        streams = run_load(
            programs.load_generator, Target(mock.port, streaming_bodies), concurrency=8, seconds=20, requests=40
        )
    assert (plain.answers, plain.errors) == (400, 0)
    assert (streams.answers, streams.errors, streams.events) == (40, 0, 240)
    assert streams.gap is not None
    # Between five chunks are four gaps; the mock never sends one early.
    assert streams.gap.count == 160


def test_callers_are_the_open_connections_and_what_they_sent(programs: Programs, bodies: Path) -> None:
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        connection = http.client.HTTPConnection("127.0.0.1", mock.port, timeout=10)
        for _ in range(3):
            connection.request("POST", "/v1/chat/completions", "{}")
            connection.getresponse().read()
        port = connection.sock.getsockname()[1]
        assert {caller.port: caller.requests for caller in mock.callers()}[port] == 3
        connection.close()


def test_streams_are_held_until_the_block_ends(programs: Programs, streaming_bodies: Path) -> None:
    with MockUpstream(programs.mock_upstream, ["mock"]) as mock:
        mock.stream(chunks=2, interval_s=60)
        target = Target(mock.port, streaming_bodies)
        with held_streams(programs.load_generator, target, streams=150) as held:
            assert held() == 150
            assert sum(caller.requests for caller in mock.callers()) == 150


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="gcc is not here"):
        build_programs(tmp_path)


def test_programs_are_built_once(programs: Programs) -> None:
    built = programs.mock_upstream.stat().st_mtime_ns
    assert build_programs(programs.mock_upstream.parent) == programs
    assert programs.mock_upstream.stat().st_mtime_ns == built


@pytest.mark.parametrize("name", ["load_generator.c", "mock_upstream.c"])
def test_the_compiler_has_nothing_to_say(name: str) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not here")
    words = ["-O2", "-Wall", "-Wextra", "-fsyntax-only", SOURCES / name]
    assert subprocess.run([compiler, *words], capture_output=True, text=True, check=True).stderr == ""
