"""Screens and their dialogs; of them only the home screen is imported before the first paint."""
