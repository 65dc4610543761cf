"""What the adapters of remote services share: one HTTP exchange, what its outcome means, what may
be fetched and kept, and prices.
"""
