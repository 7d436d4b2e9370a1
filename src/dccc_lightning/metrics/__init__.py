"""Evaluation as retrieval: embeddings in, mAP and CMC out."""
