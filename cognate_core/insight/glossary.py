"""The terms that pages use, each in plain sentences. The Glossary page lists them, and tooltips quote them.

It knows nothing of pages or runs: what a term means does not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A term of the field, what a lay person would call it, what it means, and the terms that belong to it."""

    name: str
    plain: str
    meaning: str
    see: tuple[str, ...] = ()


GLOSSARY: dict[str, Term] = {
    term.name: term
    for term in (
        Term(
            "attention window",
            "how far back it looks directly",
            "How many tokens back each layer can look by itself. What lies further behind can be reached by long-term "
            "memory alone.",
            ("memory", "layer"),
        ),
        Term(
            "batch",
            "what is read at once",
            "The sequences of text that are worked on together. A step reads one batch, or several that are added up.",
            ("step", "sequence"),
        ),
        Term(
            "bits per byte",
            "how wrong it is, whatever its vocabulary",
            "How many bits the model needs for each byte of text, on average: its loss over all tokens of a text, in "
            "bits, divided by the bytes of the text in UTF-8 (The Pile, arXiv 2101.00027). Lower is better; text on a "
            "disk takes 8. Losses a token cannot be compared between vocabularies, this can. The end of a text counts "
            "as a token and as no byte.",
            ("held-out loss", "token", "tokenizer"),
        ),
        Term(
            "checkpoint",
            "a saved state, to go on from",
            "Everything that training needs to go on as if nothing had been, written to disk: weights, optimizer and "
            "position in the text. After a pause or a crash, the run goes on from the last one.",
            ("weights", "optimizer"),
        ),
        Term(
            "dataset",
            "the text it learns from",
            "A collection of texts. One part is learned from; another, the held-out rows, is kept apart for checking.",
            ("held-out loss", "mixture weights"),
        ),
        Term(
            "divergence",
            "it has come apart",
            "The loss climbs and does not come back, or is no number any more. Most often the learning rate was too "
            "high. What is learned after it is worth nothing.",
            ("learning rate", "spike"),
        ),
        Term(
            "early stopping",
            "ending when it gets no better",
            "Training ends when several checks in a row were no better than the best one before, and the model is what "
            "it was then. That spares time, and learning by heart.",
            ("held-out loss", "overfitting"),
        ),
        Term(
            "embedding",
            "a token as numbers",
            "The table that turns each token into a row of numbers, which is all that the model computes with. It is "
            "learned like every other part.",
            ("token", "parameters"),
        ),
        Term(
            "epoch",
            "one pass through the data",
            "Reading every training row once. A run may read less than one pass or many; many passes make learning by "
            "heart more likely.",
            ("overfitting",),
        ),
        Term(
            "gate",
            "how far the door to memory stands open",
            "Each layer decides how much of what it found in memory it lets in: 0 is shut, 1 is open. It begins nearly "
            "shut and opens only if memory helps.",
            ("memory", "notes"),
        ),
        Term(
            "gradient norm",
            "how strongly the weights are pulled (gradient size)",
            "The gradient says, for each weight, which way lowers the loss. Its norm is its length over all weights "
            "together. A sudden jump often goes with a spike of the loss.",
            ("gradient clipping", "spike"),
        ),
        Term(
            "gradient clipping",
            "a limit to how strongly the weights are pulled",
            "A gradient that is longer than the limit is shortened to it, so that one odd batch does no harm.",
            ("gradient norm",),
        ),
        Term(
            "grokking",
            "understanding that comes late",
            "The model first learns its training text by heart, and only much later does the loss on unseen text fall, "
            "too. It was seen in some tasks, mostly small made-up ones.",
            ("GrokFast", "overfitting"),
        ),
        Term(
            "GrokFast",
            "strengthening the slow part of the pull",
            "A filter that adds the slow, steady part of past gradients to the present one. In some tasks it makes "
            "grokking come sooner.",
            ("grokking", "gradient norm"),
        ),
        Term(
            "held-out loss",
            "how wrong it is on unseen text",
            "The loss on rows that were kept apart and that the model never learned from. This is the honest measure: "
            "only here does learning by heart not help. Of several datasets it is their mean, each by its share of the "
            "text that is learned from.",
            ("loss", "bits per byte", "overfitting"),
        ),
        Term(
            "layer",
            "one stage of the model",
            "A block that lets each token look at those before it (attention) and then works on each token by itself "
            "(feed-forward). Text passes through all layers in turn.",
            ("attention window", "ponder steps"),
        ),
        Term(
            "learning rate",
            "how far each step moves the weights",
            "Too high, and the loss jumps or climbs; too low, and nothing is learned. Here it first grows (warm-up), "
            "stays there for a while if you wish, and falls along a cosine.",
            ("warm-up", "step"),
        ),
        Term(
            "loss",
            "how wrong it is",
            "How surprised the model is by the token that really comes next, on average, in nats. Lower is better; 0 "
            "would be a perfect guess each time, and pure guessing is the logarithm of the vocabulary.",
            ("held-out loss", "perplexity"),
        ),
        Term(
            "memory",
            "long-term memory (LTM): what it wrote down of the text",
            "A bank of notes that the model writes while it reads, and that its layers can look up later in the same "
            "text, further back than its attention reaches.",
            ("notes", "gate"),
        ),
        Term(
            "mixture weights",
            "how often each dataset is read",
            "How often each dataset is drawn, relative to the others. Without them, a dataset is drawn by its size.",
            ("dataset",),
        ),
        Term(
            "notes",
            "what its memory holds",
            "Each note pairs what stood before a token with the token that came. After each segment of text, the few "
            "most surprising tokens are noted.",
            ("memory", "gate"),
        ),
        Term(
            "optimizer",
            "what moves the weights",
            "The rule that turns gradients into changes of the weights. AdamW remembers the direction and the size of "
            "past gradients. Muon makes the remembered direction of each weight matrix orthogonal, so that no few "
            "directions outweigh the others.",
            ("gradient norm", "weight decay"),
        ),
        Term(
            "overfitting",
            "learning by heart",
            "The loss on training text goes on falling while the loss on unseen text rises: the model remembers its "
            "text instead of learning what is common to all. More text or fewer steps help.",
            ("held-out loss", "epoch"),
        ),
        Term(
            "parameters",
            "the numbers that training adjusts",
            "All the numbers of the model that are learned (its weights), counted. More can learn more, and take more "
            "time, memory and text.",
            ("weights",),
        ),
        Term(
            "perplexity",
            "among how many tokens it is undecided",
            "The loss in another form, e to its power: the model is as unsure as if it chose among so many equally "
            "likely tokens. Lower is better.",
            ("loss",),
        ),
        Term(
            "plateau",
            "a standstill",
            "A stretch in which the loss does not fall any more. The model may have learned what it can, or the "
            "learning rate does not suit.",
            ("loss", "learning rate"),
        ),
        Term(
            "ponder steps",
            "how long it thinks (adaptive computation time, ACT)",
            "How often the middle layers go over a token before the model finds that it has thought enough. When "
            "it reads or writes, that is decided token by token. While it learns, all tokens of a batch take the same "
            "number of steps, drawn from what tokens lately asked for: that is faster.",
            ("layer", "ponder loss"),
        ),
        Term(
            "ponder loss",
            "the price of thinking",
            "What the ponder steps add to what training makes small, so that the model thinks no longer than it is "
            "worth. It is not part of the loss that the curves show.",
            ("ponder steps", "loss"),
        ),
        Term(
            "precision",
            "how exactly it computes (fp32, bf16)",
            "fp32 keeps a number in 32 bits. bf16 keeps it in 16, which is coarser, and faster where the processor has "
            "it built in.",
        ),
        Term(
            "seed",
            "where chance begins",
            "The number from which everything random follows: the first weights and the order of the text, or the "
            "words that are drawn while it writes. The same seed gives the same again.",
            ("temperature", "batch"),
        ),
        Term(
            "sequence",
            "a piece of training text",
            "Rows of text packed one after the other up to the training length. What stays empty is padding, which is "
            "not learned from.",
            ("batch", "token"),
        ),
        Term(
            "spike",
            "a sudden jump",
            "The loss jumps up for a few steps and comes back. One odd batch can be the cause, or a learning rate at "
            "its limit.",
            ("gradient clipping", "divergence"),
        ),
        Term(
            "step",
            "one change of the weights",
            "The model reads one step's text, and its weights are moved once. Training is many such steps.",
            ("batch", "learning rate"),
        ),
        Term(
            "temperature",
            "adventure while it writes",
            "0: always the likeliest token. Higher: less likely ones come more often, so that the text is more "
            "surprising, and more often wrong.",
            ("seed", "token"),
        ),
        Term(
            "token",
            "a word piece",
            "What the model reads and writes: a short word, a piece of a longer one, or a sign. All text is cut into "
            "tokens first.",
            ("tokenizer",),
        ),
        Term(
            "tokenizer",
            "what cuts text into word pieces",
            "It knows a vocabulary of tokens and turns text into them and back. Each new mixture of text gets its own, "
            "trained on it (byte-level BPE).",
            ("token",),
        ),
        Term(
            "warm-up",
            "a gentle beginning",
            "Over the first share of the steps the learning rate grows from zero to its full value.",
            ("learning rate",),
        ),
        Term(
            "weight decay",
            "a pull towards zero",
            "At each step the weight matrices are pulled a little towards zero, against learning by heart.",
            ("overfitting", "weights"),
        ),
        Term(
            "weights",
            "what the model has learned",
            "The numbers that training adjusts, kept in one file. With the shape of the model and its tokenizer they "
            "are the model.",
            ("parameters",),
        ),
    )
}
"""By the field's own name."""


def explained(term: str, more: str = "") -> str:
    """A tooltip: what `term` means, and `more` of how it is meant here. A term that is not in the glossary is a bug."""
    return f"{GLOSSARY[term].meaning} {more}".rstrip()


def found_terms(words: str) -> list[Term]:
    """The terms that hold all of `words` somewhere: the one of this name first, then those with them in their name."""
    whole, each = words.strip().casefold(), words.casefold().split()
    found = [term for term in GLOSSARY.values() if all(word in _text(term) for word in each)]
    return sorted(
        found, key=lambda term: (term.name.casefold() != whole, whole not in term.name.casefold(), term.name.casefold())
    )


def _text(term: Term) -> str:
    return f"{term.name} {term.plain} {term.meaning}".casefold()
