"""Scorers: what gives each image and its prompt a number. See `evalkit.scorer.Scorer`."""
