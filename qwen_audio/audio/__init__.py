"""Reading of sound files, streams and microphones as 16 kHz waveforms, and their log-mel spectrograms."""
