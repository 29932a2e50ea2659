"""The screens, one file each; the home screen is the only one that is imported before the first paint."""
