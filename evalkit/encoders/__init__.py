"""Encoders turn images (some also text) into features.

Every entry point of the group `evalkit.encoders` names a function that loads one.
"""
