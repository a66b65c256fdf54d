"""What runs together: token budgets that learn, batch forming, the time model. Pure."""
