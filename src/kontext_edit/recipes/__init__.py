"""What people do with Kontext, as recipes that an assistant can follow."""
