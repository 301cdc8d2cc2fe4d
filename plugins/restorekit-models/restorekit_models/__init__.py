"""Trained restorers with their weights; each is a part of kind restorer, and the README is its card."""
