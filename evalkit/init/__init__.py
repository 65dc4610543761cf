"""Starter configurations."""
