"""Data in: folders, tables, shards, lists and arrays to one `Dataset`."""
