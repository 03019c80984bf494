"""What the chaos scenarios are made of: a server that can be hurt, loads, histories and who judges them."""
