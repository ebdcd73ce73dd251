"""Where weights come from: the Hugging Face Hub, a plain address, a folder. Found as everybody's sources are."""
