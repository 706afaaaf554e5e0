"""What is published and what may be asked: messages, requests, switches, schemas."""
