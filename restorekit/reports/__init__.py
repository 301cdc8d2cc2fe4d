"""Reports: run folders to pages with figures, sentences and tables."""
