"""Common ground of screens and widgets: the program's interface, actions and their keys, themes, the log."""
