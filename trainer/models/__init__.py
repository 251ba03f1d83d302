"""The networks: the vision transformer, the heads, and the teacher that follows the student."""
