"""Recipes: YAML to a validated recipe, the recipe of an audit classifier, seeds."""
