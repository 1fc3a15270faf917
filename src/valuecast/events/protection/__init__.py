"""What is dropped, masked or replaced by pseudonyms while a file is read."""
