"""What a Plan is made of: its fields, what follows from them, what it costs and how it is kept."""
