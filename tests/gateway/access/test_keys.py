"""Keys: made, checked, never shown. F39, F40, F42 of the fault list."""

import contextlib
import hmac
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.access.keys import KeyRecord, NewKey, new_key, verified
from gateway.errors import AuthenticationError

KEY = new_key("alice")
REVOKED = new_key("bob")
RECORDS = {
    KEY.record.id: KEY.record,
    REVOKED.record.id: REVOKED.record.model_copy(update={"revoked": datetime.now(UTC)}),
}


WELL_FORMED = st.builds(
    "rdc_{}_{}".format,
    st.sampled_from([KEY.record.id, REVOKED.record.id, "0" * 16]),
    st.text("ABCxyz019_-", min_size=43, max_size=43),
)


def secret_of(key: NewKey) -> str:
    return key.text.split("_", 2)[2]


def changed(text: str, position: int) -> str:
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]


BAD_KEYS = {
    "none": None,
    "empty": "",
    "unknown": new_key("carol").text,
    "revoked": REVOKED.text,
    "wrong secret": changed(KEY.text, len(KEY.text) - 10),
    "another's secret": f"rdc_{KEY.record.id}_{secret_of(REVOKED)}",
    "too long": KEY.text + "A",
    "too short": KEY.text[:-1],
    "upper case id": KEY.text.upper(),
    "trailing newline": KEY.text + "\n",
    "sql": "' OR 1=1 --",
    "other digits": KEY.text.replace(KEY.record.id, "٣" * 16),
    "a megabyte": "rdc_" + "a" * 1_000_000,
    "the hash itself": f"rdc_{KEY.record.id}_{KEY.record.secret_sha256[:43]}",
}


def test_a_key_is_recognised() -> None:
    assert verified(KEY.text, RECORDS) is KEY.record


def test_keys_differ_and_have_256_bits_of_secret() -> None:
    secrets = {secret_of(new_key("alice")) for _ in range(50)}
    assert len(secrets) == 50
    assert all(len(secret) == 43 for secret in secrets)  # 43 characters of 6 bits hold 256 bits


@pytest.mark.parametrize("presented", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_whatever_is_wrong_the_answer_is_the_same(presented: str | None) -> None:
    with pytest.raises(AuthenticationError) as caught:
        verified(presented, RECORDS)
    with pytest.raises(AuthenticationError) as other:
        verified(new_key("dave").text, {})
    assert caught.value.body() == other.value.body()
    assert caught.value.headers() == other.value.headers() == [("www-authenticate", "Bearer")]


@pytest.mark.parametrize("presented", [KEY.text, *BAD_KEYS.values()], ids=["good", *BAD_KEYS.keys()])
def test_every_check_is_one_constant_time_comparison_of_digests(
    presented: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is the same for a good, an unknown, a malformed and a revoked key, so its time says nothing."""
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def recorded(left: Any, right: Any) -> bool:
        compared.append((len(left), len(right)))
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    with contextlib.suppress(AuthenticationError):
        verified(presented, RECORDS)
    assert compared == [(64, 64)]


@given(st.text() | WELL_FORMED | st.binary().map(lambda b: b.decode("latin-1")))
def test_no_text_is_anything_but_refused(presented: str) -> None:
    with pytest.raises(AuthenticationError):
        verified(presented, RECORDS)


@given(st.integers(0, len(KEY.text) - 1))
def test_every_character_of_a_key_counts(position: int) -> None:
    with pytest.raises(AuthenticationError):
        verified(changed(KEY.text, position), RECORDS)


def test_the_secret_is_in_no_representation() -> None:
    key = new_key("alice", ("alpha",), 60)
    shown = [repr(key), str(key), repr(key.record), str(key.record), key.record.model_dump_json()]
    assert not any(secret_of(key) in text for text in shown)
    assert not any(key.record.secret_sha256 in text for text in shown[:-1])


def test_a_refused_key_is_not_in_the_error() -> None:
    with pytest.raises(AuthenticationError) as caught:
        verified(REVOKED.text, RECORDS)
    shown = [str(caught.value), repr(caught.value), caught.value.body().decode()]
    shown += traceback.format_exception(caught.value)
    assert not any(secret_of(REVOKED) in text for text in shown)


@pytest.mark.parametrize(
    ("name", "limit"), [("", None), ("\x1b[2Jalice", None), ("a" * 65, None), ("alice\n", None), ("alice", 0)]
)
def test_a_name_or_limit_out_of_range_is_refused(name: str, limit: int | None) -> None:
    with pytest.raises(ValidationError):
        new_key(name, None, limit)


def test_a_record_survives_being_written() -> None:
    record = new_key("alice", ("alpha", "beta"), 60).record
    assert KeyRecord.model_validate_json(record.model_dump_json()) == record
