"""What is done to a Keras network before it is a file: looked through, folded, trained for eight bits."""
