"""Any sound file, stream or microphone to a 16 kHz waveform, and to a log-mel spectrogram."""
