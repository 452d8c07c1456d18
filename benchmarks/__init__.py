"""The published way of computing, timings against it, and the training of Tiny-Shapes."""
