"""The command line's frame: verbs are found through the host and imported only when run."""
