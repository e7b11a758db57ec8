"""What comes out: text, words with times, subtitles."""
