"""How a raw mood becomes a number that may be summed, what that costs, and the book in which the cost is kept."""
