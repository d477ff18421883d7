"""Training data: sources, documents, tokenizer, packing, mixture. Knows no tensors, no database."""
