"""The catalogue: entries of all plugins as one table, looked up, filtered, ranked by published figures and licences."""
