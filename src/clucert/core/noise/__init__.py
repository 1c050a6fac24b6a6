"""One noise a file: how it makes sub-texts, its theorem with the proof, and what each threat can take of a margin."""
