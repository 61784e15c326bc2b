"""A worker's copy of the keys."""

import logging

import pytest

from gateway.access.keyring import Keyring
from gateway.access.keys import new_key
from gateway.errors import StateUnavailableError


def test_before_the_first_copy_nobody_is_known() -> None:
    with pytest.raises(StateUnavailableError):
        Keyring().records()


def test_a_copy_takes_the_place_of_the_last_one() -> None:
    keyring, alice, bob = Keyring(), new_key("alice").record, new_key("bob").record
    keyring.replace([alice])
    keyring.replace([bob])
    assert keyring.records() == {bob.id: bob}


def test_no_keys_at_all_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    keyring = Keyring()
    with caplog.at_level(logging.WARNING, logger="gateway.access"):
        for _ in range(3):
            keyring.replace([])
    assert [record.getMessage() for record in caplog.records] == ["no_keys"]
    assert keyring.records() == {}


def test_a_copy_that_says_the_same_is_the_same() -> None:
    keyring, record = Keyring(), new_key("alice").record
    keyring.replace([record])
    before = keyring.records()
    keyring.replace([record.model_copy()])
    assert keyring.records() is before
