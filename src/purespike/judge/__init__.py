"""What is held against a build, or against what somebody compiled before."""
