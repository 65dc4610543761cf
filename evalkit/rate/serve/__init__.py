"""The local page on which people rate the images of a run."""
