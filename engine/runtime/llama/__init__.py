"""llama.cpp's C API, guarded: files checked first, devices, memory, and the processor probe."""
