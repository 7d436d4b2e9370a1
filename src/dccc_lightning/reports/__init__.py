"""What a run or a search tells: figures, tables, pictures."""
