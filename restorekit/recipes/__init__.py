"""YAML to a validated recipe; a judge's recipe; seeds."""
