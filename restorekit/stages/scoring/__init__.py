"""A Run to scores with intervals: metrics, repeated restoration, the judge's audit."""
