"""What networks cost: parameters, multiply-adds, time, memory."""
