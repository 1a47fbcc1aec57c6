"""What runs and checkpoints say of a teacher. No PyTorch is needed."""

TEACHER = "the teacher"  # identified by the fingerprint of its weights
TEACHER_CKPT = "the teacher's prompts"  # identified by the hash of their checkpoint
NONE = "none"  # as a checkpoint: a teacher without prompts
