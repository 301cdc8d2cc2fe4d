"""The contracts: types, layers, passes, events, parts and Restorer. Imports nothing of ours but itself."""
