"""A model with a chat API as a rater: what it is asked, and what its answers are."""
