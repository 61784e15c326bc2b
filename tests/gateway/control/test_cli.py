"""`gateway keys | models | bundle`: what they print, where changes end up, and the one line when they cannot."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.__main__ import main
from gateway.access.keys import KeyRecord, verified
from gateway.control.document import ControlDocument
from gateway.control.store import FileControlStore
from gateway.errors import AuthenticationError
from tests.support.redis_server import RedisServer
from tests.support.settings import write_settings
from tests.support.small_bundle import small_bundle


def keys(*words: str) -> int:
    return main(["keys", *words])


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_settings(tmp_path / "gateway.yaml"))


def document(tmp_path: Path) -> ControlDocument:
    return asyncio.run(FileControlStore(tmp_path / "gateway.control.json").load())


def records(tmp_path: Path) -> dict[str, KeyRecord]:
    return {record.id: record for record in document(tmp_path).keys}


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
    record = verified(text, records(tmp_path))
    assert (record.name, record.allowed_models) == ("alice", ("alpha", "beta"))
    assert str(tmp_path / "gateway.control.json") in output.err
    assert text not in output.err


def test_create_takes_a_limit(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = created(capsys, config, "--requests-per-minute", "60")
    record = verified(text, records(tmp_path))
    assert (record.requests_per_minute, record.allowed_models) == (60, None)


def test_list_shows_keys_without_secrets(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = created(capsys, config, "--models", "alpha", "--requests-per-minute", "60")
    assert keys("list", "--config", config) == 0
    heading, line = capsys.readouterr().out.splitlines()
    _, key_id, secret = text.split("_", 2)
    assert heading.split()[:4] == ["ID", "NAME", "SCOPE", "MODELS"]
    assert line.split()[:5] == [key_id, "alice", "inference", "alpha", "60"]
    assert secret not in line


def test_revoke_ends_a_key_and_may_be_repeated(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = created(capsys, config)
    key_id = text.split("_")[1]
    assert keys("revoke", "--config", config, key_id) == 0
    before = records(tmp_path)
    with pytest.raises(AuthenticationError):
        verified(text, before)
    assert keys("revoke", "--config", config, key_id) == 0
    assert records(tmp_path) == before


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
    assert not (tmp_path / "gateway.control.json").exists()


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
    assert b"secret_sha256" in redis_server.command("HGETALL", "gateway:control")
    assert text.split("_", 2)[2].encode() not in redis_server.command("HGETALL", "gateway:control")


@pytest.mark.redis
def test_redis_away_is_one_line_that_names_it(
    own_redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_redis_server.kill()
    config = str(write_settings(tmp_path / "gateway.yaml", state={"redis_url": own_redis_server.url}))
    assert keys("create", "--config", config, "--name", "alice") == 2
    output = capsys.readouterr()
    assert "Redis does not answer" in output.err
    assert (output.err.count("\n"), output.out) == (1, "")


def entry(tmp_path: Path, **parts: Any) -> str:
    """A file with an entry for the model `gamma`."""
    path = tmp_path / "entry.yaml"
    path.write_text(yaml.safe_dump({"name": "gamma", "replicas": [{"base_url": "http://127.0.0.1:3/v1"}], **parts}))
    return str(path)


def listed(config: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    capsys.readouterr()
    assert main(["models", "list", "--config", config]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_models_are_added_changed_removed_and_brought_back(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, three = "http://127.0.0.1:1/v1", "http://127.0.0.1:3/v1"
    assert main(["models", "add", "--config", config, entry(tmp_path)]) == 0
    assert listed(config, capsys) == [
        ["alpha", "configuration", one],
        ["beta", "configuration", one],
        ["gamma", "added", three],
    ]
    assert main(["models", "remove", "--config", config, "beta"]) == 0
    assert main(["models", "add", "--config", config, entry(tmp_path, name="alpha")]) == 0
    assert main(["models", "remove", "--config", config, "gamma"]) == 0
    assert listed(config, capsys) == [["alpha", "changed", three]]
    assert document(tmp_path).removed_models == ("beta",)
    assert main(["models", "add", "--config", config, entry(tmp_path, name="beta")]) == 0
    assert listed(config, capsys) == [["alpha", "changed", three], ["beta", "changed", three]]
    assert document(tmp_path).version == 5


def test_validate_shows_what_is_in_effect(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add", "--config", config, entry(tmp_path)]) == 0
    assert main(["validate", "--config", config]) == 0
    shown = capsys.readouterr().out
    assert "name: gamma" in shown
    assert "# with version 1 of the control document" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("remove", "alpha"), "router.default_model: 'alpha'"),
        (("remove", "gamma"), "'gamma' is not served"),
        (("add", "absent.yaml"), "absent.yaml: cannot be read"),
    ],
)
def test_models_that_cannot_be_changed_are_one_line(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert main(["models", words[0], "--config", config, *words[1:]]) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert (output.err.count("\n"), output.out) == (1, "")
    assert document(tmp_path).version == 0


def test_a_bundle_is_set_by_its_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = small_bundle(tmp_path / "first"), small_bundle(tmp_path / "second")
    replicas = [{"base_url": "http://127.0.0.1:1/v1"}]
    config = write_settings(
        tmp_path / "gateway.yaml",
        models=[{"name": "alpha", "router_name": "llm-a", "replicas": replicas}],  # type: ignore[arg-type]
        router={"bundle": str(first.path), "default_model": "alpha"},
    )
    assert main(["bundle", "set", "--config", str(config), str(second.path)]) == 0
    choice = document(tmp_path).bundle
    assert choice is not None
    assert (choice.path, choice.digest) == (second.path, second.digest)
    assert main(["bundle", "set", "--config", str(config), str(tmp_path / "absent")]) == 2
    assert "no such router bundle" in capsys.readouterr().err
