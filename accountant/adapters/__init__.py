"""The exact engine behind the interfaces that existing training code uses."""
