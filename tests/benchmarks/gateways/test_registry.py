import pytest

from benchmarks.gateways.registry import GATEWAYS, UnknownGatewayError, chosen


def test_names_differ_and_one_folder_is_one_installation() -> None:
    names = [gateway.name for gateway in GATEWAYS]
    assert len(set(names)) == len(names)
    by_folder: dict[str, set[str]] = {}
    for gateway in GATEWAYS:
        by_folder.setdefault(gateway.installs_as, set()).add(gateway.installation.made_from())
    assert all(len(installations) == 1 for installations in by_folder.values())


def test_quick_is_ours_and_what_is_quickly_there() -> None:
    quick = {gateway.name for gateway in chosen("quick")}
    assert {"ours", "ours-auto", "nginx", "vllm-router", "fastapi-httpx"} <= quick
    assert not {"litellm", "routellm", "portkey"} & quick
    assert quick < {gateway.name for gateway in chosen("all")}


def test_names_choose_in_the_order_of_the_tables() -> None:
    assert [gateway.name for gateway in chosen("nginx, ours")] == ["ours", "nginx"]


@pytest.mark.parametrize("words", ["", "nginx,apache", "quick,apache"])
def test_an_unknown_name_is_refused_with_those_that_are_known(words: str) -> None:
    with pytest.raises(UnknownGatewayError, match="choose from quick, all, fastapi-aiohttp"):
        chosen(words)
