"""Run folders to pages for people: figures, sentences and tables."""
