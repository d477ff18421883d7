"""Training data: sources, documents, tokenizer, packing, mixture. No tensors, no database."""
