"""The encoder process: with a real encoder, real sockets and signals; then its queue, with an encoder that waits."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.errors import ConfigError
from gateway.routing.base import EncoderAddress, RoutingUnavailableError
from gateway.routing.batching import EncodeFunction
from gateway.routing.encoder import load_encoder
from gateway.routing.encoder_client import EncoderClient
from gateway.routing.encoder_frames import Frame, FrameReader, Kind, opening, packed
from gateway.routing.encoder_process import Connection, OpenEncoders
from gateway.routing.encoder_supervisor import encoder_process
from gateway.settings import EncoderSettings, Settings
from router_core.bundle import RouterBundle, SentenceEncoderSpec
from tests.gateway.routing.samples import bundle, settings
from tests.gateway.routing.test_batching import Gate
from tests.support.encoder_host import encoder_pids
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]
PATIENT = EncoderSettings(timeout_s=20.0)


def learned_settings(**encoder: Any) -> Settings:
    router = {"bundle": "somewhere", "encoder": encoder}
    return settings([{"name": "a", "router_name": "llm-a"}], router)


@pytest.fixture(scope="module")
def host() -> Iterator[Path]:
    """The socket of an encoder process that the tests of this file share."""
    with encoder_process(learned_settings(timeout_s=20.0)) as path:
        assert path is not None
        yield path
    assert encoder_pids() == []


def new_pids(before: list[int]) -> list[int]:
    return [pid for pid in encoder_pids() if pid not in before]


@asynccontextmanager
async def client_of(
    bundle: RouterBundle, path: Path, encoder: EncoderSettings = PATIENT, changes: list[bool] | None = None
) -> AsyncIterator[EncoderClient]:
    """A started client; what it tells of its encoder's coming and going is added to `changes`."""
    client = EncoderClient(bundle, encoder, EncoderAddress(path, ([] if changes is None else changes).append))
    await client.start()
    try:
        yield client
    finally:
        await client.aclose()


@pytest.mark.parametrize("text", ["sort the words", "", "sort the words " * 40, "\ud800", "é" * 1_000_000])
async def test_a_worker_gets_what_the_encoder_gives(exported: RouterBundle, host: Path, text: str) -> None:
    vectors, lost = load_encoder(exported, PATIENT)([text])
    async with client_of(exported, host) as client:
        assert (client.is_up, client.has_answered) == (True, True)
        vector, share = await client.encode(text)
    assert vector.dtype == np.float32
    assert vector == pytest.approx(vectors[0], abs=1e-6)
    assert share == pytest.approx(float(lost[0]), abs=1e-6)


async def test_workers_share_one_process_and_each_gets_its_own_vectors(exported: RouterBundle, host: Path) -> None:
    words = ["add", "sort", "reverse", "json", "what", "is", "the", "of"]
    alone, _ = load_encoder(exported, PATIENT)(words)
    async with client_of(exported, host) as first, client_of(exported, host) as second:
        asked = [client.encode(word) for word in words for client in (first, second)]
        answers = await asyncio.gather(*asked)
        assert len(encoder_pids()) == 1
    for place, row in enumerate(alone):
        for vector, _ in answers[2 * place : 2 * place + 2]:
            assert vector == pytest.approx(row, abs=1e-6)


async def test_two_bundles_are_open_while_workers_change_over(
    exported: RouterBundle, host: Path, tmp_path: Path
) -> None:
    from tests.support.tiny_encoder import bundle_with

    other = bundle_with(
        tmp_path / "other", exported.encoder, training={"seed": 2}, encoder_folder=exported.encoder_path
    )
    assert other.digest != exported.digest
    async with client_of(other, host) as new:
        async with client_of(exported, host) as old:
            (vector_of_new, _), (vector_of_old, _) = await asyncio.gather(new.encode("sort"), old.encode("sort"))
            assert vector_of_new == pytest.approx(vector_of_old, abs=1e-6)
        await new.encode("sort")
        assert len(encoder_pids()) == 1


async def test_a_bundle_that_is_another_by_now_is_refused(exported: RouterBundle, host: Path, tmp_path: Path) -> None:
    from tests.support.tiny_encoder import bundle_with

    shutil.copytree(exported.path, tmp_path / "bundle")
    old = bundle_with(tmp_path / "bundle", exported.encoder, encoder_folder=exported.encoder_path)
    bundle_with(tmp_path / "bundle", exported.encoder, training={"seed": 2}, encoder_folder=exported.encoder_path)
    with pytest.raises(ConfigError, match=f"by now, not {old.digest[:12]}"):
        async with client_of(old, host):
            pass


async def test_an_encoder_that_is_not_there_is_told_in_one_line(host: Path, tmp_path: Path, short_tmp: Path) -> None:
    spec = SentenceEncoderSpec(name=str(short_tmp), digest="0" * 64, dimensions=3, max_tokens=16)
    saved = bundle(tmp_path / "bundle", encoder=spec)
    with pytest.raises(ConfigError, match="no encoder weights") as raised:
        async with client_of(saved, host):
            pass
    assert len(str(raised.value).splitlines()) == 1


async def test_killed_under_load_it_comes_back(exported: RouterBundle) -> None:
    before = encoder_pids()
    changes: list[bool] = []
    failures: list[str] = []
    with encoder_process(learned_settings()) as path:
        assert path is not None
        async with client_of(exported, path, changes=changes) as client, asyncio.TaskGroup() as group:
            may_end = asyncio.Event()

            async def ask() -> None:
                while not may_end.is_set():
                    try:
                        await client.encode("sort the words")
                    except RoutingUnavailableError as error:
                        failures.append(str(error))
                    await asyncio.sleep(0)

            for _ in range(16):
                group.create_task(ask())
            (killed,) = new_pids(before)
            os.kill(killed, signal.SIGKILL)

            async def has_failed_and_is_up() -> bool:
                return bool(failures) and client.is_up

            await eventually(has_failed_and_is_up)
            assert (await client.encode("add"))[0].shape == (16,)
            assert new_pids(before) != [killed]
            may_end.set()
    assert set(failures) == {"the encoder is down"}
    assert changes == [True, False, True]


async def test_one_that_is_stuck_is_not_waited_for_and_is_used_again(exported: RouterBundle) -> None:
    before = encoder_pids()
    changes: list[bool] = []
    quick = EncoderSettings(timeout_s=0.2)
    with encoder_process(learned_settings()) as path:
        assert path is not None
        async with client_of(exported, path, quick, changes) as client:
            (pid,) = new_pids(before)
            os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(RoutingUnavailableError, match="late"):
                    await client.encode("add")

                async def is_down() -> bool:
                    return not client.is_up

                await eventually(is_down)
                newcomer = asyncio.create_task(client.encode("add"))
                await asyncio.sleep(0)
                assert newcomer.done()
                with pytest.raises(RoutingUnavailableError, match="late"):
                    await newcomer
            finally:
                os.kill(pid, signal.SIGCONT)

            async def is_up() -> bool:
                return client.is_up

            await eventually(is_up)

            async def is_encoded() -> bool:
                try:
                    await client.encode("add")
                except RoutingUnavailableError:  # late again: the machine is busy
                    return False
                return True

            await eventually(is_encoded)
            assert new_pids(before) == [pid]
    assert changes[:3] == [True, False, True]


BAD = [
    b"GET / HTTP/1.1\r\nhost: encoder\r\n\r\n",
    packed(Kind.QUERY, 1, b"before OPEN"),
    packed(Kind.VECTOR, 1, b"not a worker's to say"),
    packed(Kind.OPEN, 0, b"no digest"),
]
AFTER_OPEN = [
    packed(Kind.QUERY, 1, b"\xff"),
    packed(Kind.QUERY, 1, b"a") + packed(Kind.QUERY, 1, b"the same number"),
    packed(Kind.OPENED),
]


@pytest.mark.parametrize(("is_open", "sent"), [(False, sent) for sent in BAD] + [(True, sent) for sent in AFTER_OPEN])
async def test_what_is_no_frame_ends_the_connection_and_not_the_process(
    exported: RouterBundle, host: Path, is_open: bool, sent: bytes
) -> None:
    async with client_of(exported, host) as client:
        pids = encoder_pids()
        reader, writer = await asyncio.open_unix_connection(str(host))
        if is_open:
            writer.write(packed(Kind.OPEN, 0, opening(exported.digest, exported.path)))
            assert FrameReader().feed(await reader.readexactly(9))[0].kind is Kind.OPENED
        writer.write(sent)
        with suppress(ConnectionResetError):
            async with asyncio.timeout(20):
                await reader.read()
        writer.close()
        await client.encode("sort")
        assert encoder_pids() == pids


# What starts and ends it


def test_a_policy_that_reads_no_bundle_has_no_socket() -> None:
    with encoder_process(settings([{"name": "a"}], {"policy": "fixed", "fixed_model": "a"})) as path:
        assert path is None


def test_without_a_worker_that_asks_there_is_no_process_and_nothing_is_left() -> None:
    before = encoder_pids()
    with encoder_process(learned_settings()) as path:
        assert path is not None
        assert new_pids(before) == []
        assert (path.parent.stat().st_mode & 0o777, path.is_socket()) == (0o700, True)
    assert not path.parent.exists()


def test_a_killed_gateway_takes_its_encoder_along(exported: RouterBundle, tmp_path: Path) -> None:
    # The folder it is started from holds something of the same name, which is nobody's business.
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").write_text("raise SystemExit('the wrong gateway')", encoding="utf-8")
    program = (
        "import asyncio, sys\n"
        "from gateway.routing.base import EncoderAddress\n"
        "from gateway.routing.encoder_client import EncoderClient\n"
        "from gateway.routing.encoder_supervisor import encoder_process\n"
        "from gateway.settings import Settings\n"
        "from router_core.bundle import load_bundle\n"
        "async def main(path, settings):\n"
        "    address = EncoderAddress(path, lambda is_up: None)\n"
        "    client = EncoderClient(load_bundle(sys.argv[1]), settings.router.encoder, address)\n"
        "    await client.start()\n"
        "    heavy = {'torch', 'transformers', 'sentence_transformers', 'openvino', 'tokenizers'} & set(sys.modules)\n"
        "    print(client.is_up, sorted(heavy), flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "settings = Settings.model_validate_json(sys.argv[2])\n"
        "with encoder_process(settings) as path:\n"
        "    asyncio.run(main(path, settings))\n"
    )
    command = [sys.executable, "-P", "-c", program, str(exported.path), learned_settings().model_dump_json()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "True []\n"
        (pid,) = encoder_pids(parent.pid)
        # Both reach the whole group when a terminal or a service manager stops a gateway; the encoder goes last.
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        assert encoder_pids(parent.pid) == [pid]
        parent.kill()
    asyncio.run(eventually(partial(_has_ended, pid)))


async def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_the_folder_of_a_killed_gateway_is_removed_by_the_next(short_tmp: Path) -> None:
    abandoned, fresh, other = (short_tmp / name for name in ("gateway-encoder-1", "gateway-encoder-2", "other"))
    for folder in (abandoned, fresh, other):
        folder.mkdir()
        (folder / "encoder.sock").touch()
    with encoder_process(learned_settings()) as living:
        assert living is not None
        for folder in (abandoned, other, living.parent):
            os.utime(folder, (0, 0))
        with encoder_process(learned_settings()):
            assert not abandoned.exists()
            assert all(folder.exists() for folder in (fresh, other, living))


def test_a_path_that_no_socket_can_have_is_told(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = short_tmp / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ConfigError, match="set TMPDIR"), encoder_process(learned_settings()):
        pass
    assert list(long.iterdir()) == []


# The queue, whichever worker asks


class Peer:
    """A worker that speaks in frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames = FrameReader()
        self._seen: list[Frame] = []

    def say(self, kind: Kind, number: int = 0, payload: bytes = b"") -> None:
        self._writer.write(packed(kind, number, payload))

    def ask(self, *texts: str) -> None:
        """Queries that are numbered as they come, from 1."""
        for number, text in enumerate(texts, 1):
            self.say(Kind.QUERY, number, text.encode())

    async def heard(self, kind: Kind, number: int = 0) -> Frame:
        """The frame of this kind and number, once it is there."""
        async with asyncio.timeout(20):
            while True:
                for frame in self._seen:
                    if frame[:2] == (kind, number):
                        return frame
                self._seen += self._frames.feed(await self._reader.read(1000))

    async def was_read(self) -> None:
        """Return once the process has read all that was said so far: it confirms what it does not know, too."""
        self.say(Kind.GIVE_UP, 999)
        await self.heard(Kind.GIVEN_UP, 999)

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@asynccontextmanager
async def gated(gate: Gate, folder: Path, peers: int, **options: Any) -> AsyncIterator[list[Peer]]:
    """Peers of the process's server, here in front of an encoder that waits for the test."""
    encoders = OpenEncoders(EncoderSettings.model_validate({"timeout_s": 20.0} | options), lambda *_: gate)
    server = await asyncio.get_running_loop().create_unix_server(partial(Connection, encoders), str(folder / "s"))
    made = [Peer(*await asyncio.open_unix_connection(str(folder / "s"))) for _ in range(peers)]
    try:
        for peer in made:
            peer.say(Kind.OPEN, 0, opening("0" * 64, folder))
            await peer.heard(Kind.OPENED)
        yield made
    finally:
        gate.open.set()
        for peer in made:
            await peer.leave()
        server.close()


async def test_queries_of_all_workers_are_batched_together(short_tmp: Path) -> None:
    gate = Gate()
    async with gated(gate, short_tmp, peers=2) as (first, second):
        first.ask("a", "b", "l" * 200)
        await gate.wait_until_entered()
        second.ask("c", "m" * 200)
        await second.was_read()
        gate.open.set()
        vectors = [await peer.heard(Kind.VECTOR, number) for peer, number in ((first, 3), (second, 1), (second, 2))]
    assert [np.frombuffer(frame.payload, np.float32)[1:].tolist() for frame in vectors] == [[200], [1], [200]]
    # One write of one worker may be read before the first batch begins, or after.
    assert gate.batches[-2:] == [["c"], ["m" * 200]] or gate.batches[-2:] == [["b", "c"], ["l" * 200, "m" * 200]]


async def test_a_query_that_was_given_up_is_not_encoded(short_tmp: Path) -> None:
    gate = Gate()
    async with gated(gate, short_tmp, peers=1) as (peer,):
        peer.say(Kind.QUERY, 1, b"a")
        await gate.wait_until_entered()
        peer.say(Kind.QUERY, 2, b"b")
        peer.say(Kind.GIVE_UP, 2)
        await peer.heard(Kind.GIVEN_UP, 2)
        peer.say(Kind.QUERY, 3, b"c")
        await peer.was_read()
        gate.open.set()
        await peer.heard(Kind.VECTOR, 3)
    assert gate.batches == [["a"], ["c"]]


async def test_the_queries_of_a_worker_that_left_are_not_encoded(short_tmp: Path) -> None:
    gate = Gate()
    async with gated(gate, short_tmp, peers=2) as (stayer, leaver):
        stayer.say(Kind.QUERY, 1, b"a")
        await gate.wait_until_entered()
        leaver.say(Kind.QUERY, 1, b"b")
        await leaver.was_read()
        await leaver.leave()
        stayer.say(Kind.QUERY, 2, b"c")
        await stayer.was_read()
        gate.open.set()
        await stayer.heard(Kind.VECTOR, 2)
    assert gate.batches == [["a"], ["c"]]


async def test_a_full_queue_turns_any_worker_away(short_tmp: Path) -> None:
    gate = Gate()
    async with gated(gate, short_tmp, peers=2, max_queue=2) as (first, second):
        first.say(Kind.QUERY, 1, b"a")
        await gate.wait_until_entered()
        first.say(Kind.QUERY, 2, b"b")
        first.say(Kind.QUERY, 3, b"c")
        await first.was_read()
        second.say(Kind.QUERY, 1, b"d")
        assert (await second.heard(Kind.FAILED, 1)).text() == "the encoder's queue is full"
        gate.open.set()
        await first.heard(Kind.VECTOR, 3)
        second.say(Kind.QUERY, 2, b"dd")
        await second.heard(Kind.VECTOR, 2)


async def test_an_encoder_is_loaded_once_and_freed_with_its_last_worker(short_tmp: Path) -> None:
    loads: list[str] = []
    gate = Gate()
    gate.open.set()

    def load(digest: str, path: Path, settings: EncoderSettings) -> EncodeFunction:
        loads.append(digest[:1])
        return gate

    encoders = OpenEncoders(EncoderSettings(), load)
    first, second = await asyncio.gather(*(encoders.open("a" * 64, short_tmp) for _ in range(2)))
    assert first is second
    other = await encoders.open("b" * 64, short_tmp)
    encoders.close("a" * 64)
    await first.submit("still here")
    encoders.close("a" * 64)
    await other.submit("and so is this")

    async def is_freed() -> bool:
        try:
            first.submit("gone").cancel()
        except RoutingUnavailableError:
            return True
        return False

    await eventually(is_freed)
    again = await encoders.open("a" * 64, short_tmp)
    assert again is not first
    assert loads == ["a", "b", "a"]
    for digest in ("a", "b"):
        encoders.close(digest * 64)


async def test_a_load_that_fails_is_tried_again_for_the_next_worker(short_tmp: Path) -> None:
    outcomes: list[EncodeFunction | Exception] = [ModuleNotFoundError("no openvino"), Gate()]

    def load(*_: object) -> EncodeFunction:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    encoders = OpenEncoders(EncoderSettings(), load)
    failed = await asyncio.gather(*(encoders.open("a" * 64, short_tmp) for _ in range(2)), return_exceptions=True)
    assert [str(error) for error in failed] == ["no openvino"] * 2
    await encoders.open("a" * 64, short_tmp)
    encoders.close("a" * 64)


async def test_an_encode_that_hangs_is_noticed(tmp_path: Path) -> None:
    gate = Gate()
    encoders = OpenEncoders(PATIENT, lambda *_: gate)
    encoder = await encoders.open("digest", tmp_path)
    watch = asyncio.create_task(encoders.hang(0.02, interval_s=0.001))
    gate.open.set()
    await encoder.submit("a")
    gate.open.clear()
    # An encoder that has answered is not busy, however long ago that was.
    assert encoder.busy_s == 0
    assert not watch.done()
    place = encoder.submit("b")
    await asyncio.wait_for(watch, 20)
    gate.open.set()
    await place
    encoders.close("digest")


def test_a_process_whose_encoder_hangs_ends(short_tmp: Path) -> None:
    """Its supervisor starts another, as after any end."""
    script = """
import asyncio, os, socket, sys
from gateway.routing import encoder_process as process
from gateway.settings import EncoderSettings

async def hang(self, bound_s):
    print(bound_s, flush=True)

process.OpenEncoders.hang = hang
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
asyncio.run(process.serve(listener, EncoderSettings(timeout_s=5), os.pipe()[0]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(short_tmp / "s")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "50.0\n")
