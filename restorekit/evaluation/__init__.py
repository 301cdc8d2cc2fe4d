"""Numbers: scores, intervals, tests, audits, comparisons and costs."""
