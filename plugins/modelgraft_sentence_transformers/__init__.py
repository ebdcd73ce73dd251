"""The sentence-transformers provider: the documented dense text encoders of Sentence Transformers as text backbones."""
