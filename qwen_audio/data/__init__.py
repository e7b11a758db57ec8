"""Annotated examples: their schema, the files that hold them, and the generators that make them."""
