from pathlib import Path

import pytest
from transformers import AutoTokenizer

from router_training.errors import DataError
from router_training.sft.examples import IGNORED_LABEL, Example, read_examples, render_prompt, tokenize_example


def test_the_loss_falls_on_the_completion_and_its_end_token(tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    row = tokenize_example(tokenizer, Example(prompt="add 1", completion="2!"), 100)
    learnt = [label for label in row["labels"] if label != IGNORED_LABEL]
    assert tokenizer.decode(learnt) == "2!</s>"
    assert row["labels"][-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row["input_ids"]) == "<s>user\nadd 1</s>\n<s>assistant\n2!</s>"
    assert len(row["labels"]) == len(row["input_ids"])


def test_the_prompt_is_what_a_server_renders(tiny_base: Path) -> None:
    assert render_prompt(AutoTokenizer.from_pretrained(tiny_base), "hi") == "<s>user\nhi</s>\n<s>assistant\n"


def test_an_example_that_is_too_long_is_refused_not_cut(tiny_base: Path) -> None:
    with pytest.raises(DataError, match="max_tokens 20"):
        tokenize_example(AutoTokenizer.from_pretrained(tiny_base), Example(prompt="x" * 50, completion="y"), 20)


def test_files_are_read_in_order_and_empty_lines_skipped(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": "c", "completion": "d"}\n')
    two.write_text('{"prompt": "e", "completion": "f"}')
    assert [example.prompt for example in read_examples([one, two])] == ["a", "c", "e"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"prompt": "a"}', "line 2: completion"),
        ('{"prompt": "", "completion": "b"}', "line 2: prompt"),
        ('{"prompt": "a", "completion": "b", "weight": 2}', "line 2: weight"),
        ("{", "line 2: not valid JSON"),
        ("[]", "line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line)
    with pytest.raises(DataError, match=named):
        read_examples([path])


def test_no_file_and_no_example(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_examples([tmp_path / "none.jsonl"])
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no example"):
        read_examples([tmp_path / "empty.jsonl"])
