"""Costs of a training run in FLOPs, memory, time and data, from its configuration alone."""

from qwen_audio.plan.flops import BatchShape, Flops, flops_per_step, utilisation
from qwen_audio.plan.inventory import Inventory, inventory

__all__ = ["BatchShape", "Flops", "Inventory", "flops_per_step", "inventory", "utilisation"]
