"""One verb, one file: what ``python -m dccc_lightning task=NAME`` runs."""
