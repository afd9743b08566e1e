"""The file on disk."""
