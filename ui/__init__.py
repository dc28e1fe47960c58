"""The planner for people: the command `dp-planner` and its page in the browser."""
