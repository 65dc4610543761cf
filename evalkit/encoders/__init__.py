"""Encoders: picture (and, for some, text) to features. Each file has a `load` function that an
entry point names.
"""
