"""`evalkit doctor`: a self-check of the installation, one file for each kind of check."""
