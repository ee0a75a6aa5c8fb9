"""`make demo`: from nothing to balanced traffic, a dying real server and its return, told as it happens."""
