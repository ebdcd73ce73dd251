"""The project's own heads, found as everybody's are."""
