"""What a stranger's files may say to a library: an allow-list of ours. They name no code, no class, no path and no repository.

A model that anybody published is a folder of weights and of configurations, and the libraries that open it hand much of a
configuration on as arguments of loaders. So no library sees such a file: it is parsed here, every key of it is looked up in a table
of what may be said (`rules`), and the library gets a copy of what is left. A key that is not in the table is refused by name,
since leaving it out could change the model in silence; what is mere bookkeeping is left out.
"""

from __future__ import annotations

from modelgraft.strangers.rules import At, config_of

__all__ = ["At", "config_of"]
