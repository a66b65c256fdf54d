"""Inventories: NVML GPUs, CPU slots, simulated GPUs behind one interface."""
