"""Labels of models, where the report and the tables of the command line look for them."""

from evalkit.figures.labels import labels, shorten

__all__ = ["labels", "shorten"]
