"""What the commands around approvals share: where approvals wait, and how they are answered there."""
