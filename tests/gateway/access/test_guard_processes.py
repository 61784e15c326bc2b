"""F48: the limit is exact across processes that share Redis."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from gateway.access.keys import new_key
from gateway.control.document import ControlDocument
from gateway.control.store import StateControlStore
from gateway.state.redis import RedisState
from tests.support.redis_server import RedisServer
from tests.support.settings import write_settings

REQUESTS_PER_PROCESS = 100
LIMIT = 50

# One gateway process's door: says when it is ready, waits for a line, sends its requests at once, prints what became
# of them.
WORKER = """
import asyncio, sys
from pathlib import Path
from gateway.access.guard import Guard
from gateway.access.keyring import Keyring
from gateway.control.store import build_control_store
from gateway.errors import RateLimitedError
from gateway.settings_file import load_settings
from gateway.state.build import build_state

async def main():
    settings = load_settings(Path(sys.argv[1]))
    state = build_state(settings)
    keyring = Keyring()
    keyring.replace((await build_control_store(settings, state).load()).keys)
    guard = Guard(keyring, state, settings)
    print("ready", flush=True)
    key = (await asyncio.to_thread(sys.stdin.readline)).strip()
    headers = {"authorization": "Bearer " + key}
    answers = await asyncio.gather(*(guard.admit(headers) for _ in range(int(sys.argv[2]))), return_exceptions=True)
    refused = sum(isinstance(answer, RateLimitedError) for answer in answers)
    passed = sum(isinstance(answer, tuple) for answer in answers)
    await state.aclose()
    print('{"passed": %d, "refused": %d}' % (passed, refused), flush=True)

asyncio.run(main())
"""


@pytest.mark.redis
async def test_two_processes_and_200_parallel_requests_pass_the_limit_exactly(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    state = RedisState(redis_server.url, timeout_s=10.0)
    key = new_key("alice", None, LIMIT)
    await StateControlStore(state).save(ControlDocument(version=1, keys=(key.record,)))
    config = write_settings(
        tmp_path / "gateway.yaml",
        access={"require_keys": True},
        state={"redis_url": redis_server.url, "timeout_s": 10.0},
    )
    arguments = ("-c", WORKER, str(config), str(REQUESTS_PER_PROCESS))
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert await worker.stdout.readline() == b"ready\n"
        # Windows are a minute of the server's clock: do not begin a few seconds before one ends.
        _, ends_in_s = await state.count("the clock", 60)
        if ends_in_s < 15:
            await asyncio.sleep(ends_in_s)
        async with asyncio.timeout(60):
            outputs = await asyncio.gather(*(worker.communicate(key.text.encode() + b"\n") for worker in workers))
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
        await state.aclose()
    counts = [json.loads(output) for output, _ in outputs]
    assert sum(count["passed"] for count in counts) == LIMIT
    assert sum(count["refused"] for count in counts) == 2 * REQUESTS_PER_PROCESS - LIMIT
