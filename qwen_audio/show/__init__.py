"""Pictures and listings for people: spectrograms, examples, manifests, the demo."""
