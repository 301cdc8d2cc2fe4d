"""Classical restoration methods for restorekit: total variation, non-local means, wavelets, CLAHE and others."""
