"""The synthetic world: speech, sounds and music with exact labels."""
