"""From weights to what is done with them: embeddings, scores, exports."""
