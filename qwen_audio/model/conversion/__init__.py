"""The parts of `qwen_audio.model.convert`: files, names, configurations, vocabularies, and a plan for each source."""
