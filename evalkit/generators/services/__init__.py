"""Shared by the adapters of remote services: HTTP, outcomes, safety, templates and prices."""
