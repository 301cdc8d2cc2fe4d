"""The contracts: types, layers, passes, events, parts and Restorer. Imports no other layer of restorekit."""
