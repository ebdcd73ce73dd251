"""Fine-tuning: a pretrained backbone trained further on a task, with the known cures against losing what it knew."""
