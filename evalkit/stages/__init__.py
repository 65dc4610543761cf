"""The stages: each reads earlier files of a run folder and writes its own. No stage calls another."""
