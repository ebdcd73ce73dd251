"""Zero-shot answers made better, or worse, by looking at all unlabelled items at once: pure functions on arrays.

Each fits something small to the whole batch (weights of prompts, shares of classes, means of classes) and gives a rule that
then answers for one item at a time.
"""
