"""What a run folder holds, and the words, pictures, tables and pages that tell it."""
