import json
from pathlib import Path

import pytest

from deploy.demo.convert import CACHE, CHAT_TEMPLATE, convert, gguf_path, is_converted

MADE = {"model.safetensors": b"weights", "tokenizer.json": b"{}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished conversion, as far as its marker says."""
    for name, content in MADE.items():
        (tmp_path / name).write_bytes(content)
    marker = {"chat_template": CHAT_TEMPLATE, "bytes": {name: len(content) for name, content in MADE.items()}}
    (tmp_path / "conversion.json").write_text(json.dumps(marker))
    return tmp_path


def test_a_finished_conversion_is_used_as_it_is(folder: Path) -> None:
    said: list[str] = []
    assert convert(folder, log=said.append) == folder
    assert said == []


def test_half_a_conversion_or_another_template_is_not_finished(folder: Path) -> None:
    assert is_converted(folder)
    (folder / "model.safetensors").write_bytes(b"weig")
    assert not is_converted(folder)
    (folder / "model.safetensors").unlink()
    assert not is_converted(folder)
    (folder / "model.safetensors").write_bytes(MADE["model.safetensors"])
    (folder / "conversion.json").write_text(json.dumps({"chat_template": "other", "bytes": {}}))
    assert not is_converted(folder)
    assert not is_converted(folder / "none")


def test_the_wheel_that_is_installed_holds_the_weights() -> None:
    assert gguf_path().stat().st_size > 50_000_000


def test_the_template_renders_turns_without_a_system_text_of_its_own() -> None:
    from jinja2 import Environment

    template = Environment(autoescape=False).from_string(CHAT_TEMPLATE)  # noqa: S701 - text for a model, not a page
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]},
    ]
    assert template.render(messages=messages[1:], add_generation_prompt=True) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.render(messages=messages).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")


@pytest.mark.skipif(not is_converted(CACHE), reason="the base model is not converted here yet")
def test_the_converted_folder_carries_our_template() -> None:
    assert (CACHE / "chat_template.jinja").read_text() == CHAT_TEMPLATE
