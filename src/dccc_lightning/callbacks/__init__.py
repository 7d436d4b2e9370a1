"""What happens around training: re-clustering, evaluation, records of the run."""
