"""What every program needs: devices, caches, interrupts, progress, tables of text."""
