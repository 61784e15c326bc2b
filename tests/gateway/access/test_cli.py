"""`gateway keys`: what it prints, where keys end up, and the one line when it cannot."""

import argparse
import asyncio
from pathlib import Path

import pytest

from gateway.access.cli import add_arguments, run
from gateway.access.keys import verified
from gateway.access.store import FileKeyStore
from gateway.errors import AuthenticationError
from tests.support.redis_server import RedisServer
from tests.support.settings import write_settings


def keys(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_settings(tmp_path / "gateway.yaml", access={"keys_file": "keys.json"}))


def created(capsys: pytest.CaptureFixture[str], config: str, *options: str) -> str:
    """The key as a script would take it: all of standard output."""
    assert keys("create", "--config", config, "--name", "alice", *options) == 0
    return capsys.readouterr().out.strip()


def test_create_prints_the_key_once_and_says_where_it_is(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys("create", "--config", config, "--name", "alice", "--models", "alpha, beta") == 0
    output = capsys.readouterr()
    text = output.out.removesuffix("\n")
    record = verified(text, asyncio.run(FileKeyStore(tmp_path / "keys.json").load()))
    assert (record.name, record.allowed_models) == ("alice", ("alpha", "beta"))
    assert str(tmp_path / "keys.json") in output.err
    assert text not in output.err


def test_create_takes_a_limit(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = created(capsys, config, "--requests-per-minute", "60")
    record = verified(text, asyncio.run(FileKeyStore(tmp_path / "keys.json").load()))
    assert (record.requests_per_minute, record.allowed_models) == (60, None)


def test_list_shows_keys_without_secrets(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = created(capsys, config, "--models", "alpha", "--requests-per-minute", "60")
    assert keys("list", "--config", config) == 0
    heading, line = capsys.readouterr().out.splitlines()
    _, key_id, secret = text.split("_", 2)
    assert heading.split()[:3] == ["ID", "NAME", "MODELS"]
    assert line.split()[:4] == [key_id, "alice", "alpha", "60"]
    assert secret not in line


def test_revoke_ends_a_key_and_may_be_repeated(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = created(capsys, config)
    key_id = text.split("_")[1]
    assert keys("revoke", "--config", config, key_id) == 0
    records = asyncio.run(FileKeyStore(tmp_path / "keys.json").load())
    with pytest.raises(AuthenticationError):
        verified(text, records)
    assert keys("revoke", "--config", config, key_id) == 0
    assert asyncio.run(FileKeyStore(tmp_path / "keys.json").load()) == records


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "--name", "alice", "--models", "alpha,gamma"), "gamma"),
        (("create", "--name", "alice", "--models", ","), "--models"),
        (("create", "--name", "\x1b[2J"), "--name"),
        (("create", "--name", "alice", "--requests-per-minute", "0"), "--requests-per-minute"),
        (("revoke", "0123456789abcdef"), "0123456789abcdef"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert keys(words[0], "--config", config, *words[1:]) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert not (tmp_path / "keys.json").exists()


def test_no_place_for_keys_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(write_settings(tmp_path / "gateway.yaml"))
    assert keys("create", "--config", config, "--name", "alice") == 2
    assert "set access.keys_file or state.redis_url" in capsys.readouterr().err


def test_a_missing_config_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("list", "--config", str(tmp_path / "absent.yaml")) == 2
    assert "absent.yaml" in capsys.readouterr().err


@pytest.mark.redis
def test_with_redis_keys_go_there(
    redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_settings(tmp_path / "gateway.yaml", state={"redis_url": redis_server.url}))
    text = created(capsys, config)
    assert keys("list", "--config", config) == 0
    assert text.split("_")[1] in capsys.readouterr().out
    assert b"secret_sha256" in redis_server.command("HGETALL", "gateway:keys")
    assert text.split("_", 2)[2].encode() not in redis_server.command("HGETALL", "gateway:keys")


@pytest.mark.redis
def test_redis_away_is_one_line_that_names_it(
    own_redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_redis_server.kill()
    config = str(write_settings(tmp_path / "gateway.yaml", state={"redis_url": own_redis_server.url}))
    assert keys("create", "--config", config, "--name", "alice") == 2
    output = capsys.readouterr()
    assert f"127.0.0.1:{own_redis_server.port}" in output.err
    assert (output.err.count("\n"), output.out) == (1, "")
