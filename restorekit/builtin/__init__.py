"""Built-in parts: each module is a plugin that imports only the public API; no other module imports it."""
