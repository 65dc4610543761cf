"""Requests to services: HTTP, keys, outcomes, retries, concurrency, money, and the journal."""
