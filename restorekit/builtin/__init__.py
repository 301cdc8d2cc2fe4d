"""The shelf: each module is a plugin that imports only the face of restorekit; nobody imports it."""
