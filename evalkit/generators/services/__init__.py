"""Shared by the adapters of services that make images: options, templates, prices, images."""
