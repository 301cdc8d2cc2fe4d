"""Blind reader studies: readers compare or rate images without knowing which method made them; `restorekit study`."""
