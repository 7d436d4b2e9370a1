"""Identities: one per individual over all cameras, stable from one run to the next."""
