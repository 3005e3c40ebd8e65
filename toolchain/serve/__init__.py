"""Serve: a program that answers over HTTP with the file that was measured. It reads a model's folder and nothing else.

A request passes door (who, how much, how long), predict or inference_protocol (what is asked), batching (what runs
together) and the model, which ``served`` holds; problems says what went wrong, metrics what happened.
"""
