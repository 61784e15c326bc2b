"""Supervised fine-tuning of LoRA specialists: train at a high rank, cut to the shipped one, write a model card."""
