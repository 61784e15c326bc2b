"""Cut a LoRA adapter to a lower rank: the best approximation of each update in the Frobenius norm.

For a module with update W = s.B.A (B: out x r, A: r x in, s = alpha / r), the factors are reduced first:
B = Qb.Rb and A^T = Qa.Ra, so W = Qb (s.Rb.Ra^T) Qa^T, and the SVD of the small r x r core, U.S.V^T, gives that of W.
With the first q triples: B' = Qb.U_q.sqrt(S_q), A' = sqrt(S_q).V_q^T.Qa^T, served at scale 1 (alpha' = q).
The full out x in matrix is never formed.

energy kept = mean over modules of sum(S_q^2) / sum(S^2). Leaves out: DoRA, and ranks that differ between modules
(servers want one rank).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from router_training.errors import DataError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Cut:
    """What was kept: the rank, the mean share of squared singular values, and the modules cut."""

    rank: int
    energy_kept: float
    modules: int


def truncate_update(
    b_out_r: torch.Tensor, a_r_in: torch.Tensor, scale: float, rank: int
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """B' (out, rank), A' (rank, in) and the energy kept, for the update scale * B @ A."""
    q_b, r_b = torch.linalg.qr(b_out_r.double())
    q_a, r_a = torch.linalg.qr(a_r_in.double().T)
    u, s, vh = torch.linalg.svd(scale * (r_b @ r_a.T))
    root = s[:rank].sqrt()
    energy = float(s.square().sum())
    kept = float(s[:rank].square().sum()) / energy if energy > 0 else 1.0
    return (q_b @ u[:, :rank]) * root, (root[:, None] * vh[:rank]) @ q_a.T, kept


def cut_adapter(source: Path, target: Path, rank: int, *, base_name: str) -> Cut:
    """Write the adapter in `source` to the folder `target` at `rank`, in bf16, as peft and vLLM load it.

    `base_name` replaces the path of the base in the adapter's config: that path is of this machine alone.

    Raises:
        DataError: `source` holds no adapter that can be cut.
    """
    try:
        settings = json.loads((source / CONFIG).read_text())
        weights = load_file(source / WEIGHTS)
        scale = settings["lora_alpha"] / settings["r"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{source}: not a LoRA adapter: {error}") from error
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise DataError(f"{source}: holds weights that are not finite")
    modules = [name.removesuffix(_A) for name in weights if name.endswith(_A)]
    if not modules or len(weights) != 2 * len(modules) or settings.get("use_dora") or settings.get("use_rslora"):
        raise DataError(f"{source}: only plain LoRA factors can be cut")
    shipped: dict[str, torch.Tensor] = {}
    kept = []
    for module in sorted(modules):
        b, a, share = truncate_update(weights[module + _B], weights[module + _A], scale, rank)
        shipped[module + _B] = b.to(torch.bfloat16).contiguous()
        shipped[module + _A] = a.to(torch.bfloat16).contiguous()
        kept.append(share)
    # peft writes a set, in the order of this process's hash seed: sorted, the same adapter has the same digest.
    settings["target_modules"] = sorted(settings["target_modules"])
    settings |= {"r": rank, "lora_alpha": rank, "inference_mode": True, "base_model_name_or_path": base_name}
    target.mkdir(parents=True, exist_ok=True)
    save_file(shipped, target / WEIGHTS, metadata={"format": "pt"})
    (target / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return Cut(rank=rank, energy_kept=sum(kept) / len(kept), modules=len(modules))
