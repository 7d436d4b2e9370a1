"""Reports of runs, sweeps and searches: figures, boards, tables and pages."""
