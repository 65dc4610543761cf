"""GenEval: whether the objects of an image have the class, count, colour and place asked for."""
