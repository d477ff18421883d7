"""Settings that contradict each other, and settings that are allowed but probably not intended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cognate_core.config.training_config import TrainingConfig


def refuse_contradictions(config: TrainingConfig) -> None:
    """Raises ValueError, with a field and a sentence ("d_model: Width 7 ..."), if settings contradict each other."""
    if config.d_model % config.n_heads or (config.d_model // config.n_heads) % 2:
        step = 2 * config.n_heads
        below, above = config.d_model // step * step, -(-config.d_model // step) * step
        nearest = " or ".join(str(n) for n in dict.fromkeys((below, above)) if 8 <= n <= 4096)
        raise ValueError(
            f"d_model: Width {config.d_model} cannot be shared evenly by {config.n_heads} attention heads: each head "
            f"needs an even number. Use a width of {nearest}, or another number of heads."
        )
    lab = config.task == "arithmetic"
    if lab and any(config.arithmetic_modulus % n == 0 for n in range(2, config.arithmetic_modulus)):
        raise ValueError(
            f"arithmetic_modulus: Modulus {config.arithmetic_modulus} is not a prime number, which the lab's problems "
            "need. Use 59, 97 or 113, for example."
        )
    right_numbers = config.arithmetic_modulus - (config.arithmetic_operation in ("*", "/"))  # never by 0
    if lab and int(config.arithmetic_modulus * right_numbers * config.arithmetic_train_share) < 1:
        raise ValueError(
            f"arithmetic_train_share: A share of {config.arithmetic_train_share:g} of the problems modulo "
            f"{config.arithmetic_modulus} is less than one problem. Choose a larger share or prime."
        )
    if lab and config.metric_for_best_model == "bits_per_byte":
        raise ValueError(
            "metric_for_best_model: The Grokking lab has no text and therefore no bits per byte. Choose loss or "
            "accuracy."
        )
    if not lab and (config.stable_max or config.orthogonal_gradient):
        name = "stable_max" if config.stable_max else "orthogonal_gradient"
        raise ValueError(
            f"{name}: StableMax and orthogonal gradients are only for the Grokking lab (task = arithmetic), not for "
            "language models."
        )
    if config.engine == "ray" and config.ray_workers > config.batch_size:
        raise ValueError(
            f"ray_workers: A batch of {config.batch_size} sequences cannot be shared by {config.ray_workers} workers: "
            "each needs at least one. Choose fewer workers or a larger batch."
        )
    if config.train_seq_len > config.max_seq_len:
        raise ValueError(
            f"train_seq_len: Training length {config.train_seq_len} is longer than the longest text the model can "
            f"read ({config.max_seq_len}). Lower the training length or raise the longest text."
        )
    if not config.dataset_sources and not config.dataset_path:
        raise ValueError("dataset_sources: Choose at least one dataset or your own file.")
    if config.mixture_weights and not config.dataset_path:
        unknown = sorted(set(config.mixture_weights) - set(config.dataset_sources))
        if unknown:
            raise ValueError(
                f"mixture_weights: {', '.join(unknown)} has a weight but is not among the chosen datasets "
                f"({', '.join(config.dataset_sources)})."
            )
        if not any(config.mixture_weights.get(name, 1.0) > 0 for name in config.dataset_sources):
            raise ValueError("mixture_weights: At least one dataset needs a weight above zero.")


def warnings(config: TrainingConfig) -> list[str]:
    """A sentence for each setting that is probably not intended."""
    found = []
    if config.ltm_enabled and config.mem_segment >= config.train_seq_len:
        found.append(
            f"The model will not learn to use long-term memory: a segment ({config.mem_segment} tokens) is not shorter "
            f"than the training length ({config.train_seq_len}), so no note is ever read. Choose shorter segments."
        )
    elif config.ltm_enabled and config.attention_window >= config.train_seq_len:
        found.append(
            "Long-term memory will hardly help: it starts empty with each sequence, and the attention window "
            f"({config.attention_window} tokens) covers a whole sequence ({config.train_seq_len}). Choose a shorter "
            "window or a longer training length, or turn memory off to train faster."
        )
    if config.task == "arithmetic" and config.early_stopping_patience and config.metric_for_best_model == "loss":
        found.append(
            "In the Grokking lab, the held-out loss rises for a long time before it falls: early stopping by loss ends "
            "training before the model understands. Set 'Best by' to accuracy."
        )
    if config.engine == "ray" and config.ray_address is not None:
        found.append(
            f"This run joins the Ray cluster {config.ray_address}. Anyone who can use that cluster can then run "
            "programs on this computer: join only your own."
        )
    return found
