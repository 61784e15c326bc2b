"""LoRA fine-tuning on transformers, peft and trl: the full-rank adapter, resumable at any saved step.

Choices, most of them measured on CPUs with a 135M model: eager attention (its backward is faster than sdpa's at these
lengths); batches of similar length; the output layer run on the supervised positions alone; bf16 only where the
hardware multiplies it (emulated, it was seven times slower than fp32); no dropout; AdamW (0.9, 0.99) without weight
decay; a cosine schedule that ends above zero.

Promises: the same config, data and seed on the same machine give the same adapter, and a job that was killed and
resumed takes the same number of steps in the same order of examples. Leaves out: evaluation (measure.py) and the cut
(cut.py).
"""

import math
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig as TrlConfig
from trl import SFTTrainer

from router_training.errors import TrainingError
from router_training.sft.config import SftConfig
from router_training.sft.examples import IGNORED_LABEL, Example, tokenize_example

FULL_RANK = "adapter-full-rank"
CHECKPOINTS = "checkpoints"


def train_adapter(config: SftConfig, examples: list[Example], *, resume: bool) -> Path:
    """Train and return the folder of the full-rank adapter.

    Raises:
        TrainingError: nothing to resume, or the loss is not finite.
        DataError: an example is longer than `max_tokens`.
    """
    torch.set_num_threads(config.threads)
    set_seed(config.seed)
    checkpoint = _checkpoint_to_resume(config, resume=resume)
    tokenizer = AutoTokenizer.from_pretrained(config.base)
    rows = [tokenize_example(tokenizer, example, config.max_tokens) for example in examples]
    model = AutoModelForCausalLM.from_pretrained(config.base, dtype=compute_dtype(config), attn_implementation="eager")
    model.config.use_cache = False
    trainer = _CompletionTrainer(
        model=model,
        args=_trainer_arguments(config),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=0.0,
            target_modules=list(config.target_modules),
            task_type="CAUSAL_LM",
        ),
        callbacks=[_RefuseNonFiniteLoss()],
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    folder = config.work / FULL_RANK
    trainer.save_model(str(folder))
    return folder


def compute_dtype(config: SftConfig) -> torch.dtype:
    """bf16 where the hardware multiplies it, else fp32: emulated bf16 is several times slower than fp32."""
    if config.compute_dtype != "auto":
        return torch.bfloat16 if config.compute_dtype == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # No public question exists for the CPU; every build of torch since 2.6 answers this one.
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def _checkpoint_to_resume(config: SftConfig, *, resume: bool) -> str | None:
    folder = config.work / CHECKPOINTS
    last: str | None = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if resume and last is None:
        raise TrainingError(f"{folder}: holds no checkpoint to resume from; run without --resume")
    if not resume and last is not None:
        raise TrainingError(f"{folder}: holds checkpoints of an earlier run; give --resume, or remove the folder")
    return last


def _trainer_arguments(config: SftConfig) -> TrlConfig:
    return TrlConfig(
        output_dir=str(config.work / CHECKPOINTS),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        adam_beta1=0.9,
        adam_beta2=0.99,
        weight_decay=0.0,
        max_grad_norm=config.gradient_clip,
        warmup_steps=config.warmup_steps,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": config.final_learning_rate_ratio},
        train_sampling_strategy="group_by_length",
        max_length=None,
        gradient_checkpointing=False,
        bf16=compute_dtype(config) == torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=10,
        save_steps=config.save_every_steps,
        save_total_limit=1,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        report_to=[],
        seed=config.seed,
        data_seed=config.seed,
    )


class _CompletionTrainer(SFTTrainer):
    """trl's trainer with the output layer run on the supervised positions alone.

    On a CPU trl's own loss scores every position and the entropy of each, which costs a third of the step here, where
    most tokens are prompt. The value is the same: mean negative log-likelihood of the completions' tokens.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Mean cross-entropy over the labelled positions of a batch."""
        language_model = self.accelerator.unwrap_model(model).get_base_model()
        hidden_B_T_D = language_model.model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
        labels_B_T = inputs["labels"][:, 1:]
        supervised_B_T = labels_B_T != IGNORED_LABEL
        labels_N = labels_B_T[supervised_B_T]
        logits_N_V = language_model.lm_head(hidden_B_T_D[:, :-1][supervised_B_T]).float()
        total = torch.nn.functional.cross_entropy(logits_N_V, labels_N, reduction="sum")
        loss = total / (labels_N.numel() if num_items_in_batch is None else num_items_in_batch)
        return (loss, {"logits": logits_N_V}) if return_outputs else loss


class _RefuseNonFiniteLoss(TrainerCallback):
    """Stops at once when the loss is NaN or infinite, before a checkpoint is made of it."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Look at each logged loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise TrainingError(f"loss is {loss} at step {state.global_step}: lower learning_rate and start again")
