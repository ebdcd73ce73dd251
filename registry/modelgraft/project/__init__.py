"""Files that a project keeps beside its code: the lock file, and the names it gave to models."""
