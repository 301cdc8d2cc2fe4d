"""The words: types, layers, passes, events, parts and plugins. Imports nothing of ours but itself."""
