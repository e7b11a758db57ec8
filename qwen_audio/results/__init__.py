"""Results of the model: text, words with times, subtitles."""
