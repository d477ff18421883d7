"""The terms that pages use, in plain words. The Glossary page lists them, and tooltips quote them.

It does not depend on pages or runs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A term of the field, its name in plain words, its meaning, and related terms."""

    name: str
    plain: str
    meaning: str
    see: tuple[str, ...] = ()


GLOSSARY: dict[str, Term] = {
    term.name: term
    for term in (
        Term(
            "attention",
            "what it looks at",
            "To predict a token, each layer mixes what it knows of earlier tokens, each with a share of its attention. "
            "The shares tell where a layer takes from, not why.",
            ("attention window", "layer"),
        ),
        Term(
            "attention window",
            "how far back it looks directly",
            "How many tokens back each layer can look by itself. Only long-term memory reaches further back.",
            ("memory", "layer"),
        ),
        Term(
            "batch",
            "what is read at once",
            "The sequences of text that are processed together. A step reads one batch, or several that are added up.",
            ("step", "sequence"),
        ),
        Term(
            "bits per byte",
            "how wrong it is, whatever its vocabulary",
            "How many bits the model needs for each byte of text, on average: its loss over all tokens of a text, in "
            "bits, divided by the bytes of the text in UTF-8 (The Pile, arXiv 2101.00027). Lower is better; text on a "
            "disk takes 8. Unlike the loss per token, it can be compared between vocabularies. The end of a text "
            "counts as a token but not as a byte.",
            ("held-out loss", "token", "tokenizer"),
        ),
        Term(
            "branch",
            "a run that continues another's checkpoint",
            "It has the weights and optimizer of that step, and may have other settings from there on. The first run "
            "stays as it is.",
            ("checkpoint", "twin"),
        ),
        Term(
            "checkpoint",
            "a saved state to continue from",
            "Everything that training needs to continue exactly where it was, written to disk: weights, optimizer and "
            "position in the text. After a pause or a crash, the run continues from the last one.",
            ("weights", "optimizer"),
        ),
        Term(
            "dataset",
            "the text it learns from",
            "A collection of texts. The model learns from one part; another, the held-out rows, is kept for checks.",
            ("held-out loss", "mixture weights"),
        ),
        Term(
            "divergence",
            "training has broken down",
            "The loss climbs and does not come back, or is no longer a number. Usually the learning rate was too high. "
            "What the model learns afterwards is worthless.",
            ("learning rate", "spike"),
        ),
        Term(
            "early stopping",
            "stopping when it no longer improves",
            "Training ends when several checks in a row were no better than the best one before; the model of that "
            "best check is kept. This saves time and avoids learning by heart.",
            ("held-out loss", "overfitting"),
        ),
        Term(
            "embedding",
            "a token as numbers",
            "The table that turns each token into a row of numbers, all that the model computes with. It is learned "
            "like every other part.",
            ("token", "parameters"),
        ),
        Term(
            "epoch",
            "one pass through the data",
            "Reading every training row once. A run may make less than one pass or many; many make learning by heart "
            "more likely.",
            ("overfitting",),
        ),
        Term(
            "gate",
            "how far the door to memory is open",
            "How much of what a layer finds in memory it lets in: 0 is shut, 1 is open. The gate starts nearly shut "
            "and opens only if memory helps.",
            ("memory", "notes"),
        ),
        Term(
            "gradient norm",
            "how strongly the weights are pulled (gradient size)",
            "The gradient shows, for each weight, which direction lowers the loss. Its norm is its length over all "
            "weights together. A sudden jump often comes with a spike of the loss.",
            ("gradient clipping", "spike"),
        ),
        Term(
            "gradient clipping",
            "a limit on how strongly the weights are pulled",
            "A gradient longer than the limit is shortened to it: one odd batch then does no harm.",
            ("gradient norm",),
        ),
        Term(
            "grokking",
            "understanding that comes late",
            "The model first learns its training text by heart; only much later the loss on unseen text falls, too. It "
            "has been seen in some tasks, mostly small made-up ones.",
            ("GrokFast", "overfitting"),
        ),
        Term(
            "GrokFast",
            "amplifying the slow part of the pull",
            "A filter that adds the slow, steady part of past gradients to the current one. In some tasks it makes "
            "grokking happen sooner.",
            ("grokking", "gradient norm"),
        ),
        Term(
            "held-out loss",
            "how wrong it is on unseen text",
            "The loss on rows that were set aside and that the model never learned from. This is the honest measure: "
            "learning by heart does not help here. For several datasets it is their mean, weighted by each one's share "
            "of the training text.",
            ("loss", "bits per byte", "overfitting"),
        ),
        Term(
            "layer",
            "one stage of the model",
            "A block in which each token first looks at those before it (attention) and is then processed by itself "
            "(feed-forward). Text passes through all layers in turn.",
            ("attention window", "ponder steps"),
        ),
        Term(
            "learning rate",
            "how far each step moves the weights",
            "Too high, and the loss jumps or climbs; too low, and the model learns nothing. Here it first grows "
            "(warm-up), optionally stays constant for a while, and then falls along a cosine.",
            ("warm-up", "step"),
        ),
        Term(
            "loss",
            "how wrong it is",
            "How surprised the model is by the actual next token, on average, in nats. Lower is better: 0 would be a "
            "perfect guess every time; pure guessing gives the logarithm of the vocabulary.",
            ("held-out loss", "perplexity"),
        ),
        Term(
            "memory",
            "long-term memory (LTM): its notes on the text",
            "A bank of notes that the model writes while it reads. Its layers can look them up later in the same text, "
            "further back than attention reaches.",
            ("notes", "gate"),
        ),
        Term(
            "mixture weights",
            "how often each dataset is read",
            "How often each dataset is drawn, relative to the others. Without them, datasets are drawn by size.",
            ("dataset",),
        ),
        Term(
            "notes",
            "what its memory holds",
            "Each note pairs what came before a token with the token itself. After each segment of text, the model "
            "notes its few most surprising tokens.",
            ("memory", "gate"),
        ),
        Term(
            "optimizer",
            "what moves the weights",
            "The rule that turns gradients into changes of the weights. AdamW remembers the direction and size of "
            "past gradients. Muon makes the remembered direction of each weight matrix orthogonal: no few directions "
            "can then dominate.",
            ("gradient norm", "weight decay"),
        ),
        Term(
            "overfitting",
            "learning by heart",
            "The loss on training text keeps falling while the loss on unseen text rises: the model memorises its text "
            "instead of learning what all texts share. More text or fewer steps help.",
            ("held-out loss", "epoch"),
        ),
        Term(
            "parameters",
            "the numbers that training adjusts",
            "How many learned numbers (weights) the model has. More can learn more, but need more time, memory and "
            "text.",
            ("weights",),
        ),
        Term(
            "perplexity",
            "how many tokens it is torn between",
            "The loss in another form, e to its power: the model is as unsure as in a choice among that many equally "
            "likely tokens. Lower is better.",
            ("loss",),
        ),
        Term(
            "plateau",
            "a standstill",
            "A stretch in which the loss no longer falls. The model may have learned what it can, or the learning rate "
            "is unsuitable.",
            ("loss", "learning rate"),
        ),
        Term(
            "ponder steps",
            "how long it thinks (adaptive computation time, ACT)",
            "How often the middle layers process a token before the model decides that it has thought enough. When it "
            "reads or writes, it decides this for each token. While it learns, all tokens of a batch take the same "
            "number of steps, drawn from what tokens recently asked for: this is faster.",
            ("layer", "ponder loss"),
        ),
        Term(
            "ponder loss",
            "the price of thinking",
            "What ponder steps add to the loss that training minimizes: the model learns to think no longer than it "
            "pays off. The curves show the loss without it.",
            ("ponder steps", "loss"),
        ),
        Term(
            "precision",
            "how exactly it computes (fp32, bf16)",
            "fp32 stores a number in 32 bits. bf16 stores it in 16: coarser, but faster on processors that support it.",
        ),
        Term(
            "run archive",
            "a run in one file",
            "A run's settings, curves, models and the hashes of its data, for another studio. It contains no "
            "checkpoints and no training data.",
            ("checkpoint", "weights"),
        ),
        Term(
            "seed",
            "where chance begins",
            "The number that determines everything random: the first weights and the order of the text, or the words "
            "drawn while it writes. The same seed gives the same result.",
            ("temperature", "batch"),
        ),
        Term(
            "sequence",
            "a piece of training text",
            "Rows of text packed one after the other up to the training length. The rest is padding, which the model "
            "does not learn from.",
            ("batch", "token"),
        ),
        Term(
            "spike",
            "a sudden jump",
            "The loss jumps up for a few steps and comes back. The cause can be one odd batch, or a learning rate at "
            "its limit.",
            ("gradient clipping", "divergence"),
        ),
        Term(
            "step",
            "one change of the weights",
            "The model reads the text of one step, and its weights are changed once. Training is many such steps.",
            ("batch", "learning rate"),
        ),
        Term(
            "sweep",
            "the same run with different settings",
            "Several runs that differ only in the settings that you vary. The results show which value is best.",
            ("seed", "twin"),
        ),
        Term(
            "temperature",
            "adventure while it writes",
            "0: always the likeliest token. Higher: less likely tokens appear more often, and the text is more "
            "surprising and more often wrong.",
            ("seed", "token"),
        ),
        Term(
            "token",
            "a word piece",
            "What the model reads and writes: a short word, a piece of a longer one, or a sign. All text is first "
            "split into tokens.",
            ("tokenizer",),
        ),
        Term(
            "tokenizer",
            "what splits text into word pieces",
            "It has a vocabulary of tokens and turns text into tokens and back. Each new mixture of text gets its own, "
            "trained on it (byte-level BPE).",
            ("token",),
        ),
        Term(
            "twin",
            "the same run, with or without GrokFast",
            "A copy of a run with the same seed and data in which only GrokFast is switched on or off, for a fair "
            "comparison.",
            ("GrokFast", "seed"),
        ),
        Term(
            "update size",
            "how far each layer moves",
            "How far a step moves the weights of a layer, relative to their size. A layer that stands still while the "
            "others move is called dead: it learns nothing.",
            ("layer", "weights", "gradient norm"),
        ),
        Term(
            "warm-up",
            "a gentle start",
            "During the first part of training, the learning rate grows from zero to its full value.",
            ("learning rate",),
        ),
        Term(
            "weight decay",
            "a pull towards zero",
            "Each step pulls the weight matrices a little towards zero, which works against learning by heart.",
            ("overfitting", "weights"),
        ),
        Term(
            "weights",
            "what the model has learned",
            "The numbers that training adjusts, saved in one file. Together with the model's shape and tokenizer they "
            "are the model.",
            ("parameters",),
        ),
    )
}
"""By the term's name."""


def explained(term: str, more: str = "") -> str:
    """A tooltip: the meaning of `term`, then `more` about its use here. An unknown term is a bug (KeyError)."""
    return f"{GLOSSARY[term].meaning} {more}".rstrip()


def found_terms(words: str) -> list[Term]:
    """The terms that contain all of `words`: the term of this name first, then those with the words in their name."""
    whole, each = words.strip().casefold(), words.casefold().split()
    found = [term for term in GLOSSARY.values() if all(word in _text(term) for word in each)]
    return sorted(
        found, key=lambda term: (term.name.casefold() != whole, whole not in term.name.casefold(), term.name.casefold())
    )


def _text(term: Term) -> str:
    return f"{term.name} {term.plain} {term.meaning}".casefold()
