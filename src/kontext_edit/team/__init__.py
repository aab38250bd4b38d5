"""The public door: who is asking, and what is not let in."""
