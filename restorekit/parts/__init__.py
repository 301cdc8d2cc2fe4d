"""The registry of parts: what a plugin adds and a recipe names, validated, described and made."""
