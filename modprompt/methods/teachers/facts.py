"""What runs and checkpoints say of a teacher. No PyTorch is needed."""

TEACHER = "the teacher"  # which CLIP it is, by the fingerprint of its weights
TEACHER_CKPT = "the teacher's prompts"  # which, by the hash of their checkpoint
NONE = "none"  # as a checkpoint: a teacher without prompts
