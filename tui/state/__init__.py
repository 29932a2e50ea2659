"""What the screens show, as plain values without a UI library: fed by a run's events, read when a frame is drawn."""
