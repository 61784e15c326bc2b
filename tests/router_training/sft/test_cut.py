import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from router_training.errors import DataError
from router_training.sft.cut import cut_adapter, truncate_update

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def adapter(folder: Path, *, rank: int = 8, alpha: int = 16, **extra: object) -> Path:
    folder.mkdir()
    torch.manual_seed(0)
    save_file(
        {f"{MODULE}.lora_A.weight": torch.randn(rank, 12), f"{MODULE}.lora_B.weight": torch.randn(20, rank)},
        folder / "adapter_model.safetensors",
    )
    settings: dict[str, object] = {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": "/somewhere",
        **extra,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def update_of(folder: Path) -> torch.Tensor:
    weights = load_file(folder / "adapter_model.safetensors")
    settings = json.loads((folder / "adapter_config.json").read_text())
    product = weights[f"{MODULE}.lora_B.weight"].float() @ weights[f"{MODULE}.lora_A.weight"].float()
    return product * settings["lora_alpha"] / settings["r"]


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_cut_is_the_truncated_svd_of_the_full_update(rank: int) -> None:
    torch.manual_seed(1)
    b, a = torch.randn(20, 8), torch.randn(8, 12)
    cut_b, cut_a, energy = truncate_update(b, a, 2.0, rank)
    u, s, vh = torch.linalg.svd(2.0 * (b.double() @ a.double()), full_matrices=False)
    best = u[:, :rank] @ torch.diag(s[:rank]) @ vh[:rank]
    torch.testing.assert_close(cut_b @ cut_a, best)
    assert energy == pytest.approx(float(s[:rank].square().sum() / s.square().sum()))


def test_an_update_of_zero_keeps_everything() -> None:
    cut_b, cut_a, energy = truncate_update(torch.zeros(5, 2), torch.ones(2, 4), 1.0, 1)
    assert energy == 1.0
    assert not (cut_b @ cut_a).any()


def test_at_full_rank_only_rounding_is_lost(tmp_path: Path) -> None:
    source = adapter(tmp_path / "source")
    cut = cut_adapter(source, tmp_path / "cut", 8, base_name="small")
    assert cut.energy_kept == pytest.approx(1.0)
    torch.testing.assert_close(update_of(tmp_path / "cut"), update_of(source), rtol=0.03, atol=0.1)


def test_the_shipped_adapter_is_bf16_at_its_rank_without_a_machines_path(tmp_path: Path) -> None:
    cut = cut_adapter(adapter(tmp_path / "source"), tmp_path / "cut", 3, base_name="small")
    settings = json.loads((tmp_path / "cut" / "adapter_config.json").read_text())
    weights = load_file(tmp_path / "cut" / "adapter_model.safetensors")
    assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (3, 3, "small")
    assert {tuple(weight.shape) for weight in weights.values()} == {(3, 12), (20, 3)}
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert 0 < cut.energy_kept < 1


def test_what_is_no_plain_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a LoRA adapter"):
        cut_adapter(tmp_path, tmp_path / "cut", 2, base_name="small")
    with pytest.raises(DataError, match="plain LoRA"):
        cut_adapter(adapter(tmp_path / "dora", use_dora=True), tmp_path / "cut", 2, base_name="small")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    source = adapter(tmp_path / "source")
    weights = load_file(source / "adapter_model.safetensors")
    weights[f"{MODULE}.lora_A.weight"][0, 0] = float("nan")
    save_file(weights, source / "adapter_model.safetensors")
    with pytest.raises(DataError, match="not finite"):
        cut_adapter(source, tmp_path / "cut", 2, base_name="small")
