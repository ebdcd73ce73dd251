"""Two sets of features brought together without a label of the second: pure functions on arrays.

Every method moves or weighs the *source*, and leaves the target where it is: what is trained on the source then is an ordinary
head that reads the target's features as the backbone gives them.
"""
