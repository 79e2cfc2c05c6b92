"""What a sweep will do and cost, before it does: its jobs, their evaluations, memory, and time."""
