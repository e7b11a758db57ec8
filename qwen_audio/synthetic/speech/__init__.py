"""Speech that labels itself: texts, voices, word times, speakers, commands."""
