"""File formats of ratings, one module each. `known.py` lists them."""
