"""What all screens and widgets build on: the program's interface, actions and their keys, themes, the log."""
