"""The host: finds plugins through entry points, tries each in a process of its own, remembers what it brought.

``discovery`` says which plugins are installed, ``validate`` tries them, ``snapshot`` keeps the answers, ``host`` joins the
three and, when a model is wanted, imports the one plugin that brought it.
"""
