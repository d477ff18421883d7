"""The settings of the tiny language model that API and pages show."""

from cognate_core.config import TrainingConfig

OF_THE_MACHINE = ("seconds", "elapsed_seconds", "cores", "memory_gb", "temperature")
"""The fields of StepMetrics that differ between two runs which learn the same."""

TINY = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=60,
    max_eval_samples=10,
    train_seq_len=256,
    max_seq_len=256,
    d_model=16,
    n_layers=2,
    d_mem=16,
    mem_segment=16,
    mem_writes=4,
    n_heads=2,
    vocab_size=400,
    max_steps=4,
    batch_size=2,
    gradient_accumulation_steps=1,
    eval_interval=2,
    save_steps=2,
    sample_tokens=4,
    precision="fp32",
)
"""It ponders and remembers, is checked once before its end, and trains in a second."""
