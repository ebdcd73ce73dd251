"""Attacks: hostile and sloppy plugins, model folders, adapters, images, tables and terminals, each tried for real.

``python -m tests.attacks`` runs them all and prints what came of each; the tests beside it hold the counts. A case is one thing
that a stranger hands over. What must hold for every one of them:

- no code of it runs and no file outside of it is read (a trap would spring, a secret would be opened);
- the answer is the right one, or the case is refused with exit code 1 or 2 and one line that names it;
- every other command, and every other item of the same command, answers as it did before.
"""
