"""The multi-task training format: tags, tasks, answers, tokenizer, ChatML."""
