"""Settings to objects: checks without torch, instantiation, and the parts of a run."""
